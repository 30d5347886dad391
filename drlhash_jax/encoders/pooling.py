"""Max pooling whose gradient is fast on CPUs too."""

import jax
import jax.numpy as jnp

from drlhash_jax.types import Array


def max_pool(x: Array, window: int, stride: int) -> Array:
    """Largest value of each window, without padding.

    As the maximum of one strided slice for each place in the window. The gradient of XLA's windowed maximum scatters
    one value at a time and takes five to ten times as long on CPUs, a seventh of AlexNet's training step. Equal
    values share the gradient; behind a ReLU those are zeros, which pass none on.

    Args:
      x: ``[B, H, W, channels]``.
      window: side of the square windows.
      stride: distance of their centres.

    Returns:
      ``[B, (H - window) // stride + 1, (W - window) // stride + 1, channels]``, dtype of x.
    """
    batch, height, width, channels = x.shape
    last = lambda side, start: start + (side - window) // stride * stride + 1

    def at(top: int, left: int) -> Array:
        stop = (batch, last(height, top), last(width, left), channels)
        return jax.lax.slice(x, (0, top, left, 0), stop, (1, stride, stride, 1))

    pooled = at(0, 0)
    for place in range(1, window**2):
        pooled = jnp.maximum(pooled, at(*divmod(place, window)))
    return pooled
