"""What a search tries: the defaults, then one thing after the other, within one budget for all."""

import dataclasses
import itertools
import json

import pytest

from drlhash_jax.comparison import comparison_config
from drlhash_jax.comparison.search import run_config, search_axes
from drlhash_jax.comparison.settings import load_comparison
from drlhash_jax.comparison.work import compare_method, search
from drlhash_jax.config import default_config, load, merged
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
    axes = search_axes(method, found.trainings)
    lengths = [2] * spec.trains_encoder + [len(each.metadata["search"]) for each in dataclasses.fields(spec.settings)]
    assert [len(axis) for axis in axes] == [length for length in lengths if length]
    for changes in [{}, *itertools.chain(*axes)]:
        load(run_config(found, method, changes, bits=8, seed=0))


FAST = {"training": {"learning_rate": 1.0}}


def searched(tmp_path, score, **changes):
    """Settings that a search of HashNet tries, in their order, and what it returns; score says how good each is."""
    order = []

    def train(values, folder):
        changed = values["training"]["learning_rate"], values["hashnet"]["scale"]
        order.append(changed)
        value = score(*changed)
        if value is None:
            raise FloatingPointError("loss is nan")
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"results": [{"map": value}]}))

    return order, search(comparison(**changes), "hashnet", tmp_path, train)


def test_one_thing_after_the_other_is_changed_in_the_best_so_far(tmp_path):
    rate = default_config().training.learning_rate
    assert rate < 0.1
    order, found = searched(tmp_path, lambda rate, scale: None if rate == 1.0 else rate + 0.01 * scale)
    assert order == [(rate, 7.0), (1.0, 7.0), (0.1, 7.0), (0.1, 4.0), (0.1, 10.0)]
    # The best first, what failed last.
    assert found[0]["settings"] == {"training": {"learning_rate": 0.1}, "hashnet": {"scale": 10.0}}
    assert [each["map"] for each in found] == [pytest.approx(0.1 + 0.01 * scale) for scale in (10, 7, 4)] + [
        pytest.approx(rate + 0.07),
        None,
    ]
    assert found[-1]["settings"] == FAST and "nan" in found[-1]["failed"] and "seconds" in found[0]


@pytest.mark.parametrize("budget", [1, 2, 3, 4])
def test_no_more_settings_than_the_budget(budget, tmp_path):
    order, found = searched(tmp_path, lambda rate, scale: rate, num_settings=budget)
    assert len(order) == len(found) == (0 if budget == 1 else budget)


def test_a_finished_run_of_other_settings_is_refused(tmp_path):
    found = comparison(num_settings=1, bits=(8,), seeds=(0,))
    folder = tmp_path / "seen/lsh/008/seed0"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    values = run_config(found, "lsh", {"lsh": {"orthogonal": True}}, bits=8, seed=0)
    (folder / "config.json").write_text(json.dumps({"config": values}))
    with pytest.raises(UserError, match="seed0 holds a run of other settings: lsh.orthogonal was True, now False"):
        compare_method(found, "lsh", tmp_path)


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


def test_settings_of_an_earlier_comparison_are_not_searched_again(tmp_path):
    path = tmp_path / "comparison.json"
    tried = [{"settings": FAST, "map": 0.5, "seconds": 1.0}, {"settings": {}, "map": 0.4, "seconds": 1.0}]
    path.write_text(json.dumps({"settings": {"hashnet": {"chosen": FAST, "tried": tried}}}))
    order, found = searched(tmp_path, lambda rate, scale: rate, searched=str(path))
    assert order == [] and found == tried
    # A method that it does not name is searched.
    path.write_text(json.dumps({"settings": {"csq": {"chosen": FAST, "tried": tried}}}))
    order, _ = searched(tmp_path, lambda rate, scale: rate, searched=str(path))
    assert len(order) == 5


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": []}', '{"settings": {"csq": {}}}'])
def test_a_record_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "comparison.json"
    path.write_text(content)
    with pytest.raises(UserError, match="comparison.json"):
        comparison(searched=str(path))
