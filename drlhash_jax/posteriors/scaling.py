"""How features are scaled before rows are held against each other."""

import jax.numpy as jnp
import numpy as np

from drlhash_jax.types import Array


def spread_of(train: np.ndarray) -> np.ndarray:
    """Standard deviation float32 ``[D]`` of features float32 ``[n, D]``, at least a thousandth of the largest."""
    std = train.std(axis=0)
    return np.maximum(std, max(1e-3 * std.max(), 1e-12))


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length 1: float32 ``[N, D]``; rows of zeros stay."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))


def scaled_rows(x: Array, scale: Array) -> Array:
    """Rows ``[B, D]`` divided by scale ``[D]``, then of length 1, on the device."""
    scaled = x / scale[None]
    return scaled / jnp.maximum(jnp.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
