"""Triplets of a batch against three loops."""

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods import pairs, triplets
from drlhash_jax.training import Batch

LABELS = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0]], np.float32)
WEIGHTS = np.array([1, 1, 1, 1, 1, 0], np.float32)


def batch_of(key=None):
    # The last row is padding, which repeats the number of another one.
    return Batch(None, jnp.asarray(LABELS), jnp.array([7, 3, 5, 2, 9, 7]), jnp.asarray(WEIGHTS), key)


def all_triplets():
    """Anchor, near and far row of all triplets that count."""
    shared = LABELS @ LABELS.T
    inside = [row for row in range(6) if WEIGHTS[row]]
    for i in inside:
        for j in inside:
            for k in inside:
                if len({i, j, k}) == 3 and shared[i, j] > shared[i, k]:
                    yield i, j, k


def test_mean_by_loops_with_its_gradient():
    codes = np.random.default_rng(0).uniform(size=(6, 4)).astype(np.float32)

    def loss(codes):
        anchors = triplets.anchor_rows(codes, batch_of(), None)
        return triplets.mean_over_triplets(pairs.squared_distances(codes, anchors.outputs), anchors, 0.5, None)

    values, slope = [], np.zeros_like(codes)
    for i, j, k in all_triplets():
        value = 0.5 + ((codes[i] - codes[j]) ** 2).sum() - ((codes[i] - codes[k]) ** 2).sum()
        values.append(max(value, 0.0))
        if value > 0:
            slope[i] += 2 * (codes[k] - codes[j])
            slope[j] += 2 * (codes[j] - codes[i])
            slope[k] += 2 * (codes[i] - codes[k])
    # Both sides of the hinge are seen.
    assert 0 < values.count(0.0) < len(values)
    found, gradient = jax.value_and_grad(loss)(jnp.asarray(codes))
    np.testing.assert_allclose(found, np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope / len(values), atol=1e-6)


def test_a_batch_without_triplets_costs_nothing():
    same = Batch(None, jnp.ones((3, 1)), jnp.arange(3), jnp.ones(3))

    def loss(codes):
        anchors = triplets.anchor_rows(codes, same, None)
        return triplets.mean_over_triplets(pairs.squared_distances(codes, anchors.outputs), anchors, 1.0, None)

    value, gradient = jax.value_and_grad(loss)(jnp.eye(3))
    assert value == 0 and not gradient.any()


def test_distances_are_never_negative():
    a = 0.5 + jnp.zeros((3, 7)) / 3
    np.testing.assert_allclose(pairs.squared_distances(a, a + 1e-4), np.full((3, 3), 7e-8), atol=5e-7)
    assert (pairs.squared_distances(a, a + 1e-4) >= 0).all()
