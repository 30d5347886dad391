"""The multi-label binary cross-entropy against hand-computed numbers and its closed-form gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from drlhash_jax.training import binary_cross_entropy


def random_batch(seed, num_rows=5, num_bits=3):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.normal(size=(num_rows, num_bits))).astype(np.float32)
    return logits, rng.integers(0, 2, (num_rows, num_bits)).astype(np.uint8)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def test_golden_numbers():
    logits, codes = jnp.array([[0.0, np.log(3.0)]]), jnp.array([[1, 0]], jnp.uint8)
    # -log sigma(0) = log 2; -log(1 - sigma(log 3)) = -log(1/4) = 2 log 2; mean 1.5 log 2.
    np.testing.assert_allclose(binary_cross_entropy(logits, codes, jnp.ones(1)), 1.5 * np.log(2.0), rtol=1e-6)
    # (sigma - b)/(B K): (1/2 - 1)/2 and (3/4 - 0)/2.
    gradient = jax.grad(binary_cross_entropy)(logits, codes, jnp.ones(1))
    np.testing.assert_allclose(gradient, [[-0.25, 0.375]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_against_loops(seed):
    logits, codes = random_batch(seed)
    num_rows, num_bits = logits.shape
    total, gradient = 0.0, np.zeros(logits.shape)
    for i in range(num_rows):
        for k in range(num_bits):
            p = sigmoid(logits[i, k])
            total -= np.log(p) if codes[i, k] else np.log(1 - p)
            gradient[i, k] = (p - codes[i, k]) / (num_rows * num_bits)
    weights = jnp.ones(num_rows)
    np.testing.assert_allclose(binary_cross_entropy(logits, codes, weights), total / (num_rows * num_bits), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(binary_cross_entropy)(logits, codes, weights), gradient, rtol=1e-4, atol=1e-7)


def test_gradient_is_that_of_the_function():
    logits, codes = random_batch(4)
    weights = jnp.array([1.0, 1.0, 0.0, 1.0, 1.0])
    check_grads(lambda x: binary_cross_entropy(x, codes, weights), (logits,), order=1, atol=1e-2, rtol=1e-2)


def test_weights_mask_padding():
    logits, codes = random_batch(1)
    padded_logits = np.concatenate([logits, np.full((2, 3), 1e6, np.float32)])
    padded_codes = np.concatenate([codes, np.zeros((2, 3), np.uint8)])
    weights = jnp.array([1.0] * 5 + [0.0] * 2)
    expected = binary_cross_entropy(logits, codes, jnp.ones(5))
    np.testing.assert_allclose(binary_cross_entropy(padded_logits, padded_codes, weights), expected, rtol=1e-6)
    gradient = jax.grad(binary_cross_entropy)(padded_logits, padded_codes, weights)
    np.testing.assert_allclose(gradient[:5], jax.grad(binary_cross_entropy)(logits, codes, jnp.ones(5)), rtol=1e-6)
    np.testing.assert_array_equal(gradient[5:], np.zeros((2, 3)))


def test_only_padding_is_zero():
    logits, codes = random_batch(2)
    assert binary_cross_entropy(logits, codes, jnp.zeros(5)) == 0.0


def test_extreme_logits():
    ones, zeros = jnp.ones((1, 1), jnp.uint8), jnp.zeros((1, 1), jnp.uint8)
    for size in (1e4, 1e30):
        high, low, weights = jnp.full((1, 1), size), jnp.full((1, 1), -size), jnp.ones(1)
        assert binary_cross_entropy(high, ones, weights) == 0.0
        assert binary_cross_entropy(low, zeros, weights) == 0.0
        for logits, codes, sign in ((high, zeros, 1.0), (low, ones, -1.0)):
            value, gradient = jax.value_and_grad(binary_cross_entropy)(logits, codes, weights)
            np.testing.assert_allclose(value, size, rtol=1e-6)
            np.testing.assert_allclose(gradient, [[sign]], rtol=1e-6)


def test_shapes_that_differ_are_refused():
    with pytest.raises(AssertionError):
        binary_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((2, 4)), jnp.ones(2))
    with pytest.raises(AssertionError):
        binary_cross_entropy(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.ones(3))
