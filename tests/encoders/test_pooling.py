"""Max pooling against flax's, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders.pooling import max_pool


@pytest.mark.parametrize(
    ("shape", "window", "stride"), [((2, 13, 11, 3), 3, 2), ((2, 8, 6, 2), 2, 2), ((1, 7, 7, 1), 3, 1)]
)
def test_against_flax(shape, window, stride):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    ours = lambda x: max_pool(x, window, stride)
    theirs = lambda x: nn.max_pool(x, (window, window), strides=(stride, stride))
    np.testing.assert_array_equal(ours(x), theirs(x))
    weights = jnp.asarray(np.random.default_rng(1).normal(size=ours(x).shape), jnp.float32)
    gradients = [jax.grad(lambda x, pool=pool: jnp.sum(weights * pool(x)))(x) for pool in (ours, theirs)]
    np.testing.assert_allclose(*gradients, atol=1e-6)


def test_zeros_behind_a_relu_pass_no_gradient():
    x = jnp.array([-1.0, -2.0, -3.0, -4.0]).reshape(1, 2, 2, 1)
    assert not jax.grad(lambda x: jnp.sum(max_pool(nn.relu(x), 2, 2)))(x).any()


def test_dtype_is_kept():
    assert max_pool(jnp.ones((1, 4, 4, 1), jnp.bfloat16), 2, 2).dtype == jnp.bfloat16
