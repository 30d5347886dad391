"""What a search tries: the defaults first, one budget for all, the same draws every time."""

import dataclasses

import pytest

from drlhash_jax.comparison import comparison_config
from drlhash_jax.comparison.search import candidates, merged, run_config, search_space
from drlhash_jax.comparison.settings import load_comparison
from drlhash_jax.config import default_config, load
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS


def comparison(**changes):
    config = comparison_config(default_config())
    config.trainings = {"slow": {"learning_rate": 0.1}, "fast": {"learning_rate": 1.0}}
    config.methods = {"csq": {"training": {"num_epochs": 7}}}
    config.compare.update(changes)
    return load_comparison(config)


def test_merged_replaces_what_is_named_and_nothing_else():
    values = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert merged(values, {"a": {"c": {"d": 5}}, "e": 4}) == {"a": {"b": 1, "c": {"d": 5}}, "e": 4}
    assert values == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_that_may_be_tried_is_a_configuration(method):
    spec, found = METHODS[method], comparison()
    space = search_space(method, found.trainings)
    number = 3 if spec.trains_encoder else 1
    for field in dataclasses.fields(spec.settings):
        number *= 1 + len(field.metadata["search"])
    assert space[0] == {} and len(space) == number
    assert len({repr(each) for each in space}) == number
    for changes in space:
        load(run_config(found, method, changes, bits=8, seed=0))


def test_one_budget_and_the_same_draws():
    for method in METHODS:
        tried = candidates(comparison(num_settings=3), method)
        assert tried[0] == {} and len(tried) == min(3, len(search_space(method, comparison().trainings)))
        assert tried == candidates(comparison(num_settings=3), method)
        # A larger budget tries the same first.
        assert candidates(comparison(num_settings=9), method)[: len(tried)] == tried


def test_a_run_has_the_settings_of_its_method_and_those_that_were_chosen():
    values = run_config(
        comparison(), "csq", {"training": {"learning_rate": 0.1}}, bits=24, seed=5, validation=0.2, protocol="random"
    )
    settings = load(values)
    assert (settings.run.method, settings.run.pool_bits, settings.run.bits) == ("csq", 24, (24,))
    assert (settings.run.seed, settings.run.last_stage) == (5, "encoder")
    assert (settings.training.num_epochs, settings.training.learning_rate) == (7, 0.1)
    assert (settings.data.validation, settings.data.protocol) == (0.2, "random")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("lhs",)}, r"compare.methods=lhs: choose among .* \(did you mean lsh\?\)"),
        ({"methods": ("lsh,csq", "lsh")}, "compare.methods=lsh,csq,lsh: each method once"),
        ({"methods": ()}, "compare.methods is empty"),
        ({"bits": (16, 0)}, "compare.bits=16,0: give integers from 1"),
        ({"seeds": (1, 1)}, "compare.seeds=1,1: each once"),
        ({"seeds": ()}, "compare.seeds=: give integers from 0"),
        ({"unseen": "C-9"}, r"compare.unseen=C-9: name a protocol of unseen classes, C-8\+2 or unseen"),
        ({"reference": "me"}, "compare.reference=me: choose among"),
        ({"num_settings": 0}, "compare.num_settings=0: must be a number from 1"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(UserError, match=message):
        comparison(**changes)


def test_the_configuration_of_a_run_is_no_comparison():
    with pytest.raises(UserError, match="has no section base, compare, methods, trainings: a comparison starts from"):
        load_comparison(default_config())
