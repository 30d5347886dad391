"""Batch normalisation with the statistics of published weights: a pure function of the parameters."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from drlhash_jax.types import Array

# Parameters that no optimiser moves.
STATISTICS = ("mean", "var")


class FrozenBatchNorm(nn.Module):
    """Batch normalisation in its inference form, scale * (x - mean) / sqrt(var + epsilon) + bias.

    Scale and bias are trained. Mean and variance are parameters without a gradient: they come from published weights
    and stay, so that a code does not depend on the batch that it was computed in. Without published weights they are
    0 and 1, and the layer is a scale and a shift of each channel.

    Attributes:
      epsilon: added to the variance.
      compute_dtype: of the result.
    """

    epsilon: float
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalises ``[..., channels]``; shape as given, dtype compute_dtype."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = jax.lax.stop_gradient(self.param("mean", nn.initializers.zeros, shape))
        var = jax.lax.stop_gradient(self.param("var", nn.initializers.ones, shape))
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        cast = lambda array: jnp.broadcast_to(array.astype(self.compute_dtype), x.shape)
        return x.astype(self.compute_dtype) * cast(factor) + cast(shift)
