"""The configuration: every field with everything that a field can be given by mistake, and fields that do not fit."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from drlhash_jax import config as config_room
from drlhash_jax.ablation.ablate import cell_config
from drlhash_jax.ablation.settings import load_ablation
from drlhash_jax.comparison.search import run_config
from drlhash_jax.comparison.settings import load_comparison
from drlhash_jax.config import SECTIONS, default_config, load, plain_config, thesis_config
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
FIELDS = [(section, field) for section, settings in SECTIONS.items() for field in dataclasses.fields(settings)]
# A flag parses a value by the type of the default, so that these reach a field.
WRONG = {
    float: (float("nan"), float("inf"), -float("inf"), 1e308, -1.0, 10**400),
    int: (10**20, 2**70, -2, -(2**70)),
    bool: (2, "yes"),
    str: ("no such word", "x" * 5000, "a\0b"),
}


def set_field(section, name, value):
    """The default configuration as nested dictionaries, with one field changed."""
    values = plain_config(default_config())
    (values[section] if section else values)[name] = value
    return values


def kind_of(field):
    return int if field.default is None else type(field.default)


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=lambda each: getattr(each, "name", each) or "run")
def test_every_field_refuses_what_cannot_work(section, field):
    kind = kind_of(field)
    if kind is tuple:
        return
    facts = field.metadata
    for value in WRONG[kind]:
        if kind is str and facts["choices"] is None:
            continue
        if facts["least"] is not None and facts["least"] <= value <= (facts["most"] or 0):
            continue
        # -1 means none where the range says so; NaN and infinity never do.
        with pytest.raises(UserError) as caught:
            load(set_field(section, field.name, value))
        message = str(caught.value)
        assert field.name in message and len(message) < 1000 and "\n" not in message, message
    # Something of another type.
    with pytest.raises(UserError, match=field.name):
        load(set_field(section, field.name, [1] if kind is not str else 1))


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=lambda each: getattr(each, "name", each) or "run")
def test_every_number_has_a_range_and_every_field_a_meaning(section, field):
    facts = field.metadata
    assert facts["meaning"] and facts["meaning"][0] != " "
    if kind_of(field) in (int, float):
        assert facts["least"] is not None and facts["most"] is not None
        if field.default is not None:
            assert facts["least"] <= field.default <= facts["most"]


MISTAKES = {
    "bits": [(), (0,), (65,), (16, 16), (True,), (10**30,), ("x",)],
    "selectors": [("gredy",), ("ppo", "ppo")],
    "method": ["lhs"],
    "last_stage": ["mapping"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MISTAKES.items() for value in values])
def test_mistakes_at_the_top(name, value):
    with pytest.raises(UserError, match=name):
        load(set_field("", name, value))


def test_a_near_word_is_offered():
    with pytest.raises(UserError, match="did you mean greedy"):
        load(set_field("", "selectors", ("gredy",)))
    with pytest.raises(UserError, match="did you mean lsh"):
        load(set_field("", "method", "lhs"))


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"width": -3},
        {"width": 10**20},
        {"width": 2.5},
        {"width": (8, 8)},
        {"dropout_rate": 1.0},
        {"dropout_rate": float("nan")},
        {"widht": 8},
    ],
)
def test_encoder_options_are_checked(options):
    values = plain_config(default_config())
    values["encoder"]["options"] = options
    with pytest.raises(UserError, match="encoder.options"):
        load(values)


def test_zero_means_none_where_it_says_so():
    assert load(default_config()).run.top_k is None
    assert load(set_field("", "top_k", 5000)).run.top_k == 5000
    assert load(default_config()).encoder.crop_size is None


def test_the_thesis_keeps_its_loss_for_rows_with_several_labels():
    assert load(thesis_config()).method.loss == "similarity"
    assert load(default_config()).method.loss == "auto"


def test_target_codes_alone_are_a_stage_of_the_thesis_only():
    values = set_field("", "last_stage", "target_codes")
    load(values)
    with pytest.raises(UserError, match="last_stage=target_codes: method=lsh has no such stage"):
        load(values | {"method": "lsh"})


def test_crossfit_needs_bits_that_mean_the_same_in_every_fold():
    assert load(default_config()).reward_codes == "crossfit"
    expected = {"drlhash": "crossfit", "csq": "crossfit", "adsh": "holdout", "lsh": "fitted", "pca": "fitted"}
    expected |= {
        "itq": "holdout",
        "sdh": "holdout",
        "orthohash": "crossfit",
        "greedyhash": "holdout",
        "posterior_hadamard": "crossfit",
    }
    assert {name: load(set_field("", "method", name)).reward_codes for name in expected} == expected
    values = set_field("", "method", "adsh")
    values["reward"]["codes"] = "crossfit"
    with pytest.raises(UserError, match="reward.codes=crossfit.*adsh"):
        load(values)


def test_equal_configurations_give_the_same_method():
    assert load(default_config()).make_method(16) is load(default_config()).make_method(16)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_load(path):
    if path.stem.startswith("own_"):
        pytest.skip("needs data")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    if path.stem.startswith("compare_"):
        comparison = load_comparison(config)
        loaded = load(run_config(comparison, "drlhash", {}, bits=32, seed=0))
        with pytest.raises(UserError, match="no section data: it is one of the command compare"):
            load(config)
    elif path.stem.startswith("ablate_"):
        ablation = load_ablation(config)
        loaded = load(cell_config(ablation, ablation.cells[0]))
        with pytest.raises(UserError, match="no section data: it is one of the command ablate"):
            load(config)
    else:
        loaded = load(config)
    config_room.check_against_devices(loaded, 1)


def test_a_configuration_from_before_a_method_was_added_is_read():
    values = plain_config(default_config())
    del values["csq"]
    assert load(values).method == load(default_config()).method
    assert load(values | {"method": "csq"}).method == METHODS["csq"].settings()
