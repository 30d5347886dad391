"""Every method behind the one interface: a toy is learnt, stopped anywhere, read from the host, run on devices."""

import copy
import itertools

import jax
import numpy as np
import pytest
from method_toys import (
    FLOORS,
    NUM_BITS,
    NUM_CLASSES,
    NUM_ROWS,
    OF_THEIR_OWN,
    SPANNING,
    SPANNING_FIRST,
    TRAINING,
    fitted,
    key_of,
    make,
    toy,
)

from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.errors import RunStoppedError
from drlhash_jax.methods import METHODS
from drlhash_jax.parallel import find_devices
from drlhash_jax.retrieval import mean_average_precision
from drlhash_jax.training import encode_codes, fit, place_rows
from drlhash_jax.types import Checkpoint


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def database_codes(name, handed_on, inputs):
    logits = make(name).logits_for("database")
    codes = encode_codes(logits, handed_on["params"], inputs, fit_input_spec(toy(name)[0]))
    return handed_on.get("codes", codes)


# On several labels erh_two shows what erh does, too.
SHOWN_BY_ANOTHER = [("erh", True)]


@pytest.mark.parametrize(
    ("name", "multi_label"),
    [
        pytest.param(*case, marks=pytest.mark.exhaustive if case in SHOWN_BY_ANOTHER else ())
        for case in itertools.product(METHODS, [False, True])
    ],
)
def test_a_toy_is_learnt(name, multi_label):
    inputs, labels, queries = toy(name, multi_label)
    handed_on = fitted(name, multi_label=multi_label)
    codes = encode_codes(make(name).logits, handed_on["params"], queries, fit_input_spec(inputs))
    database = database_codes(name, handed_on, inputs)
    assert codes.shape == database.shape == (NUM_ROWS, NUM_BITS) and database.dtype == np.uint8
    assert mean_average_precision(codes, database, labels, labels) > FLOORS[name]


class Stops:
    """Stops a method at every offer of every phase, and goes on from what was saved."""

    def __init__(self):
        self.saved, self.num_stops = None, 0

    def run_stage(self, phase, run):
        self.saved = None

        def offer(position, state):
            self.saved = jax.tree.map(np.array, state)
            self.num_stops += 1
            raise RunStoppedError("asked to")

        restore = lambda state: state if self.saved is None else copy.deepcopy(self.saved)
        while True:
            try:
                return run(checkpoint=Checkpoint(restore, offer))
            except RunStoppedError:
                continue


@pytest.mark.parametrize("name", OF_THEIR_OWN)
def test_stopped_anywhere_it_ends_in_the_same_bits(name):
    stops = Stops()
    assert_same(fitted(name, run_stage=stops.run_stage), fitted(name))
    # One offer an epoch; twenty epochs at a time where an epoch is one step that nothing follows.
    chunks = [1 if phase.batch_size or phase.end_epoch else 20 for phase in make(name).phases]
    assert stops.num_stops == sum(-(-each.num_epochs // n) for each, n in zip(make(name).phases, chunks, strict=True))


@pytest.mark.parametrize("name", SPANNING_FIRST)
def test_rows_that_are_read_in_batches_give_the_same_bits(name):
    assert_same(fitted(name, resident_bytes=0), fitted(name))


@pytest.mark.parametrize(
    ("name", "wrapper"),
    [(name, wrapper) for wrapper in ("shard_map", "pmap") for name in SPANNING]
    + [pytest.param(name, "shard_map", marks=pytest.mark.exhaustive) for name in METHODS if name not in SPANNING],
)
def test_one_device_is_the_plain_program(name, wrapper):
    assert_same(fitted(name, devices=find_devices(wrapper)), fitted(name))


# Rows that are left out of all classifiers and of each are told apart in test_erh.py.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.exhaustive) if name == "erh" else name for name in OF_THEIR_OWN]
)
def test_rows_that_are_left_out_do_not_matter(name):
    # A batch of 32 divides the rows, and so do the samples of those that draw rows.
    subset = np.flatnonzero(np.arange(NUM_ROWS) % 5 != 0)
    inputs, labels, _ = toy(name)
    spec = fit_input_spec(inputs)
    changed, other = inputs.copy(), labels.copy()
    changed[::5], other[::5] = 30.0, (labels[::5] + 1) % NUM_CLASSES
    results = [
        fit(make(name).phases, place_rows(*each, spec), key_of, subset) for each in ((inputs, labels), (changed, other))
    ]
    jax.tree.map(np.testing.assert_array_equal, *(each["params"] for each in results))
    if "codes" in results[0]:
        np.testing.assert_array_equal(*(each["codes"][subset] for each in results))


@pytest.mark.parametrize("name", METHODS)
def test_equal_ingredients_give_the_same_method(name):
    assert make(name) is make(name) and hash(make(name).phases[-1]) == hash(make(name).phases[-1])
    assert make(name) is not make(name, training=TRAINING.replace(num_epochs=13))
    assert METHODS[name].reference
