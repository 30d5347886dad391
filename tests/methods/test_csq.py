"""CSQ: centres as far apart as they can be, and the centre of a set of labels."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_step import identity_layer, loss_and_gradient, make_linear, numeric_gradient

from drlhash_jax.methods import METHODS, TrainingFacts, csq


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
    assert csq.least_distance(centres) == found.min()


@pytest.mark.parametrize("num_bits", [1, 2, 3, 5, 12, 16, 48])
def test_at_any_length_centres_differ_and_no_bit_is_the_same_for_all(num_bits):
    for num_classes in {2, 3, 5, 2 * num_bits, min(2**num_bits, 100)}:
        if not 2 <= num_classes <= 2**num_bits:
            continue
        for seed in range(2):
            centres = csq.hash_centres(jax.random.key(seed), num_classes, num_bits)
            assert len(np.unique(centres, axis=0)) == num_classes
            assert (np.abs(centres.sum(axis=0, dtype=int)) < num_classes).all(), (num_classes, seed)


def test_a_bit_that_is_turned_over_makes_no_distance_smaller():
    codes = np.array([[1, 1, -1, 1], [1, -1, -1, 1], [1, -1, -1, -1], [1, 1, -1, -1]], np.int8)
    varied = csq.vary_constant_bits(jax.random.key(0), codes)
    np.testing.assert_array_equal(varied[:, [1, 3]], codes[:, [1, 3]])
    np.testing.assert_array_equal(varied[:, [0, 2]].sum(axis=0), [0, 0])
    assert (distances(varied) >= distances(codes)).all() and (distances(varied) > distances(codes)).any()


def test_centres_of_40000_classes_are_drawn_without_their_distances():
    tracemalloc.start()
    centres = csq.hash_centres(jax.random.key(0), 40_000, 48)
    rows = csq.row_centres(jax.random.key(1), centres, np.arange(40_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(centres, axis=0)) == 40_000 and (centres.sum(axis=1) == 0).all()
    np.testing.assert_array_equal(rows, centres > 0)
    # All distances as bytes are 1.6 GB.
    assert peak < 2e8


def test_more_classes_than_codes_are_refused():
    spec = METHODS["csq"]
    facts = TrainingFacts(3, "features", (12,), 100, 9)
    assert spec.misfit(spec.settings(), facts) == (
        "3 bits give 8 codes, and each of the 9 classes needs one of its own: use 4 bits or more"
    )
    assert spec.misfit(spec.settings(), facts._replace(num_classes=8)) is None


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


def test_loss_and_gradient_by_hand():
    u = np.array([[0.3, -0.2], [5.0, 5.0], [1.0, 1.0], [-0.9, 1.4]])
    # The second row is padding, the third has no label.
    labels, weights = np.array([[1.0], [1.0], [0.0], [1.0]]), np.array([1.0, 0.0, 1.0, 1.0])
    codes = np.array([[1, 1], [0, 0], [0, 0], [0, 1]], np.uint8)

    def oracle(kernel):
        total = 0.0
        for row in (0, 3):
            h, c = np.tanh(u[row] @ kernel), 2.0 * codes[row] - 1
            p = (1 + h) / 2
            total -= np.mean((1 + c) / 2 * np.log(p) + (1 - c) / 2 * np.log(1 - p))
            total += 0.5 * np.mean((np.abs(h) - 1) ** 2)
        return total / 2

    method = make_linear("csq", 2, quantisation_weight=0.5)
    extra = {"codes": jnp.asarray(codes)}
    loss, slopes, _ = loss_and_gradient(method, identity_layer(2), u, labels, weights, extra)
    np.testing.assert_allclose(loss, oracle(np.eye(2)), rtol=1e-5)
    np.testing.assert_allclose(slopes["head"]["kernel"], numeric_gradient(oracle, np.eye(2)), atol=1e-5)
