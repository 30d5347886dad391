"""Random views of small images on the device: a mirror image and a shift of a few pixels."""

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.types import Array


def random_flip_and_shift(key: Array, images: Array, max_shift: int, axis_name: str | None = None) -> Array:
    """Mirrors half of the images and moves each by up to max_shift pixels, repeating the edge.

    Args:
      key: PRNG key, consumed.
      images: float32 ``[B, H, W, channels]``.
      max_shift: pixels; 0 leaves positions alone.
      axis_name: axis of the devices that share the batch, B images each; None for one device. Each device draws for
        the whole batch and takes its part, so an image's view does not depend on the number of devices.

    Returns:
      float32 ``[B, H, W, channels]``.
    """
    flip_key, shift_key = jax.random.split(key)
    num_images = images.shape[0] * parallel.num_shards(axis_name)
    flip = parallel.local_rows(jax.random.bernoulli(flip_key, 0.5, (num_images,)), axis_name)
    images = jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)
    offsets = parallel.local_rows(jax.random.randint(shift_key, (num_images, 2), 0, 2 * max_shift + 1), axis_name)
    pad = [(0, 0), (max_shift, max_shift), (max_shift, max_shift), (0, 0)]
    padded = jnp.pad(images, pad, mode="edge")
    crop = lambda image, at: jax.lax.dynamic_slice(image, (at[0], at[1], 0), images.shape[1:])
    return jax.vmap(crop)(padded, offsets)
