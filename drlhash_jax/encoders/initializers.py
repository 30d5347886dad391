"""Initialisers of convolution kernels that compile quickly."""

import math

import flax.linen as nn
import jax.numpy as jnp

from drlhash_jax.types import Array


def flat_lecun_normal(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """`lecun_normal` drawn as a matrix ``[fan_in, channels]`` and reshaped.

    The distribution is the same. On a CPU, XLA takes ten times as long to compile the random bits of a
    four-dimensional array (1.7 s a layer) as those of a matrix.

    Args:
      key: PRNG key, consumed.
      shape: of the kernel, output channels last.
      dtype: of the kernel.

    Returns:
      The kernel.
    """
    matrix = nn.initializers.lecun_normal()(key, (math.prod(shape[:-1]), shape[-1]), dtype)
    return matrix.reshape(shape)
