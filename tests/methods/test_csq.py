"""CSQ: centres as far apart as they can be, and the centre of a set of labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trainings import code_state

from drlhash_jax.encoders import make_encoder
from drlhash_jax.methods import Ingredients, csq
from drlhash_jax.training import Batch, TrainingSettings, gradient


def distances(centres):
    each = np.array([[(a != b).sum() for b in centres] for a in centres])
    return each[np.triu_indices(len(centres), 1)]


@pytest.mark.parametrize(("num_classes", "num_bits"), [(10, 16), (16, 16), (21, 32), (80, 64), (2, 1)])
def test_centres_of_a_power_of_two_are_half_the_bits_apart(num_classes, num_bits):
    centres = csq.hash_centres(jax.random.key(0), num_classes, num_bits)
    assert centres.shape == (num_classes, num_bits) and set(np.unique(centres)) <= {-1, 1}
    found = distances(centres)
    # Two rows of [H; -H] differ in half of the bits, a row and its negative in all of them.
    assert set(found.tolist()) <= {num_bits / 2, num_bits}
    assert (num_classes <= num_bits) == (num_bits not in found) or num_bits == 1


def test_no_bit_is_the_same_for_all_classes():
    centres = csq.hash_centres(jax.random.key(0), 10, 16)
    assert (np.abs(centres.sum(axis=0)) < 10).all()


@pytest.mark.parametrize("num_bits", [12, 24, 48])
def test_other_lengths_have_balanced_centres_that_are_apart(num_bits):
    centres = csq.hash_centres(jax.random.key(0), 10, num_bits)
    assert (centres.sum(axis=1) == 0).all()
    assert distances(centres).min() > num_bits / 4


def test_centre_of_several_labels_is_the_majority_of_each_bit():
    centres = np.array([[1, 1, -1, -1], [1, -1, -1, 1], [1, -1, 1, -1]], np.int8)
    labels = np.array([[1, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 0]], np.uint8)
    rows = csq.row_centres(jax.random.key(3), centres, labels)
    assert rows[0].tolist() == [1, 1, 0, 0]
    # Sums 3, -1, -1, -1.
    assert rows[1].tolist() == [1, 0, 0, 0]
    # Sums 2, 0, -2, 0: ties take the bits of one code, which is also that of a row without a label.
    assert rows[2].tolist() == [1, rows[3][1], 0, rows[3][3]]
    single = csq.row_centres(jax.random.key(3), centres, np.array([0, -1]))
    np.testing.assert_array_equal(single, rows[[0, 3]])


def test_loss_by_hand():
    given = Ingredients(2, make_encoder("mlp", 2, hidden=()), TrainingSettings(), csq.CSQSettings(0.5))
    phase = csq.make(given).phases[-1]
    params = {"head": {"kernel": jnp.zeros((3, 2)), "bias": jnp.array([0.3, -0.2])}}
    batch = Batch(jnp.ones((3, 3)), jnp.array([[1.0], [1.0], [0.0]]), jnp.arange(3), jnp.array([1.0, 0.0, 1.0]))
    # The second row is padding, the third has no label.
    codes = jnp.array([[1, 1], [0, 0], [0, 0]], jnp.uint8)
    state = code_state(params, gradient._optimizer(TrainingSettings(), 1), {"codes": codes})
    _, metrics = phase.step(state, batch, jax.random.key(0), num_steps=1, axis_name=None)
    u, c = np.array([0.3, -0.2]), np.array([1.0, 1.0])
    p = (1 + np.tanh(u)) / 2
    central = -np.mean((1 + c) / 2 * np.log(p) + (1 - c) / 2 * np.log(1 - p))
    np.testing.assert_allclose(metrics["loss"], central + 0.5 * np.mean((np.abs(np.tanh(u)) - 1) ** 2), rtol=1e-5)
