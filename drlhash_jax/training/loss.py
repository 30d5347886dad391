"""The multi-label binary cross-entropy of stage 2 (thesis Eq. 3.11), with its gradient by autodiff."""

import chex
import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.types import Array


def weighted_mean(values: Array, weights: Array, axis_name: str | None = None) -> Array:
    """This device's share of a mean over a batch: the shares of all devices add up to it.

    Args:
      values: float32 ``[B]``.
      weights: float32 ``[B]``, 0 marking rows that do not count.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      float32 scalar; 0 if no row counts.
    """
    num_rows = parallel.total(jnp.sum(weights), axis_name)
    return jnp.sum(values * weights) / jnp.maximum(num_rows, 1.0)


def binary_cross_entropy(logits: Array, codes: Array, weights: Array, axis_name: str | None = None) -> Array:
    """Mean over images and bits of softplus(F) - b F; its gradient in F is (sigma(F) - b) / (B K).

    Thesis Eq. 3.12 prints this gradient with the opposite sign.

    Args:
      logits: float32 ``[B, K]``, F.
      codes: ``[B, K]`` of {0, 1}, b.
      weights: float32 ``[B]``, 0 marking padding.
      axis_name: axis of the devices that share the batch, B rows each; None for one device.

    Returns:
      float32 scalar, this device's share: the shares of all devices add up to the mean over all rows.
    """
    chex.assert_equal_shape([logits, codes])
    chex.assert_shape(weights, logits.shape[:1])
    per_bit = jax.nn.softplus(logits) - codes.astype(logits.dtype) * logits
    return weighted_mean(jnp.mean(per_bit, axis=1), weights, axis_name)
