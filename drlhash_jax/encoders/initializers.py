"""Initialisers of convolution kernels that compile quickly."""

import math

import flax.linen as nn
import jax.numpy as jnp

from drlhash_jax.types import Array


def flat(initializer: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """The same initialiser, drawing a kernel as a matrix ``[fan_in, channels]`` and reshaping it.

    The kernel is the same. On a CPU, XLA takes ten times as long to compile the random bits of a four-dimensional
    array (1.7 s a layer) as those of a matrix.

    Args:
      initializer: scaled by fan-in.

    Returns:
      An initialiser of kernels with output channels last.
    """

    def draw(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return initializer(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)

    return draw


flat_lecun_normal = flat(nn.initializers.lecun_normal())
flat_he_normal = flat(nn.initializers.he_normal())
