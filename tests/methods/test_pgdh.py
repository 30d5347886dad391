"""PGDH: over all draws, the estimate is the gradient of the expected reward; and the reward by loops."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods import pgdh
from drlhash_jax.training import Batch

LOGITS = jnp.array([[0.4, -1.1], [-0.3, 0.8]])


def batch_of(labels, weights=None, key=None):
    weights = jnp.ones(len(labels)) if weights is None else weights
    return Batch(None, jnp.eye(2)[jnp.array(labels)], jnp.arange(len(labels)), weights, key)


def mean_reward(codes, labels):
    """Of codes [B, K] of {-1, 1}, by loops over pairs of two different rows."""
    size, num_bits = codes.shape
    earned = [
        -((codes[i] @ codes[j] / num_bits - (1 if labels[i] == labels[j] else -1)) ** 2)
        for i in range(size)
        for j in range(size)
        if i != j
    ]
    return np.mean(earned)


def test_over_all_draws_the_estimate_is_the_gradient_of_the_expected_reward():
    draws = np.array(list(itertools.product([0.0, 1.0], repeat=4)), np.float32).reshape(-1, 2, 2)

    def probabilities(logits):
        p = jax.nn.sigmoid(logits)
        return jnp.prod(jnp.where(draws == 1, p[None], 1 - p[None]), axis=(1, 2))

    for labels in ([0, 0], [0, 1]):
        rewards = np.array([mean_reward(2 * draw - 1, labels) for draw in draws], np.float32)
        expected, slope = jax.value_and_grad(lambda u, rewards=rewards: -probabilities(u) @ rewards)(LOGITS)
        # Two draws of the codes of both rows, 16 times 16 ways: [ways, B, T, K].
        both = np.stack([np.repeat(draws, 16, axis=0), np.tile(draws, (16, 1, 1))], axis=2)
        weights = jnp.outer(probabilities(LOGITS), probabilities(LOGITS)).ravel()
        each = functools.partial(jax.value_and_grad(pgdh.policy_loss), LOGITS, batch=batch_of(labels), axis_name=None)
        values, slopes = jax.vmap(each)(both)
        np.testing.assert_allclose(weights @ values, expected, rtol=1e-5)
        np.testing.assert_allclose(jnp.tensordot(weights, slopes, 1), slope, atol=1e-6)
        assert float(jnp.abs(slope).max()) > 0.1


def test_the_value_is_the_mean_reward_and_padding_does_not_count():
    bits = np.asarray(jax.random.bernoulli(jax.random.key(0), shape=(5, 3, 4)), np.float32)
    logits = jax.random.normal(jax.random.key(1), (5, 4))
    labels = [0, 1, 0, 1, 1]
    batch = batch_of(labels, jnp.array([1.0, 1.0, 1.0, 1.0, 0.0]))
    value, slope = jax.value_and_grad(pgdh.policy_loss)(logits, jnp.asarray(bits), batch, None)
    rewards = [mean_reward(2 * bits[:4, draw] - 1, labels[:4]) for draw in range(3)]
    np.testing.assert_allclose(value, -np.mean(rewards), rtol=1e-5)
    assert not slope[4].any() and slope[:4].any(axis=1).all()


def test_log_probability_and_baseline():
    bits = jnp.array([[[1.0, 0.0]], [[0.0, 0.0]]])
    p = 1 / (1 + np.exp(-np.asarray(LOGITS)))
    expected = np.log([[p[0, 0] * (1 - p[0, 1])], [(1 - p[1, 0]) * (1 - p[1, 1])]])
    np.testing.assert_allclose(pgdh.log_probability(LOGITS, bits), expected, rtol=1e-5)
    # Each reward less the mean of the two others.
    np.testing.assert_allclose(pgdh.leave_one_out(jnp.array([[1.0, 2.0, 6.0]])), [[-3.0, -1.5, 4.5]], rtol=1e-6)


def test_draws_belong_to_rows_and_have_the_probability_of_their_logits():
    logits = jnp.tile(jnp.array([[-1.0, 0.0, 2.0]]), (4, 1))
    batch = Batch(None, jnp.ones((4, 1)), jnp.array([5, 2, 9, 5]), jnp.ones(4), jax.random.key(0))
    bits = pgdh.draw_bits(logits, batch, 4_000)
    np.testing.assert_allclose(bits.mean(axis=1), jax.nn.sigmoid(logits), atol=0.03)
    np.testing.assert_array_equal(bits[0], bits[3])
    assert (bits[0] != bits[1]).any()
    last = jax.tree.map(lambda x: x[2:], batch._replace(inputs=None, key=None))._replace(key=batch.key)
    np.testing.assert_array_equal(pgdh.draw_bits(logits[2:], last, 4_000), bits[2:])
