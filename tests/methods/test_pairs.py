"""Pairs of a batch: which are alike, which count, and a likelihood that does not overflow."""

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods import pairs
from drlhash_jax.training import Batch


def test_pairs_by_hand():
    labels = jnp.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]], jnp.float32)
    # Row 7 is there twice: the second time it is padding.
    batch = Batch(None, labels, jnp.array([7, 3, 5, 7]), jnp.array([1.0, 1.0, 1.0, 0.0]))
    found = pairs.pair_rows(jnp.arange(4.0), batch, None)
    np.testing.assert_array_equal(found.similar[:3, :3], [[1, 0, 1], [0, 1, 1], [1, 1, 1]])
    np.testing.assert_array_equal(found.weights, [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    # Six pairs count, of ordered rows: (0 + 1) + (10 + 12) + ... as 10 i + j.
    values = jnp.arange(4.0)[:, None] * 10.0 + jnp.arange(4.0)[None, :]
    np.testing.assert_allclose(pairs.mean_over_pairs(values, found.weights, None), (1 + 2 + 10 + 12 + 20 + 21) / 6)
    assert pairs.mean_over_pairs(values, jnp.zeros((4, 4)), None) == 0


def test_likelihood_is_the_log_of_a_sigmoid_and_does_not_overflow():
    theta = jnp.array([-3.0, 0.0, 2.5])
    for similar in (0.0, 1.0):
        p = 1 / (1 + np.exp(-np.asarray(theta)))
        expected = -np.log(p if similar else 1 - p)
        np.testing.assert_allclose(pairs.negative_log_likelihood(theta, similar), expected, rtol=5e-6)
    large = jnp.array([-1e4, 1e4])
    np.testing.assert_array_equal(pairs.negative_log_likelihood(large, 0.0), [0.0, 1e4])
    slope = jax.grad(lambda t: pairs.negative_log_likelihood(t, 1.0).sum())(large)
    np.testing.assert_array_equal(slope, [-1.0, 0.0])
