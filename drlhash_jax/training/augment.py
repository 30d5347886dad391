"""Random views of images on the device: a mirror image, and a window that is moved from the centre."""

import jax
import jax.numpy as jnp

from drlhash_jax.types import Array


def random_views(key: Array, rows: Array, images: Array, max_shift: int, size: int | None = None) -> Array:
    """Mirrors half of the images, and takes a window of each, up to max_shift pixels off its centre in both directions.

    A window that reaches over the edge sees the edge repeated. Windows of 224 in 256 pixels, shifted by up to 16, are
    the random crops of AlexNet (thesis 4.1).

    Args:
      key: PRNG key of the epoch. The view of a row depends on the key and the row's number alone, not on its batch.
      rows: int32 ``[B]``, numbers of the rows.
      images: float32 ``[B, H, W, channels]``.
      max_shift: pixels; 0 leaves windows at the centre.
      size: side of the window; None for the whole image.

    Returns:
      float32 ``[B, size, size, channels]``, or the shape of the images.
    """
    height, width = images.shape[1:3]
    window = (size or height, size or width)
    margins = tuple((side - part) // 2 for side, part in zip((height, width), window, strict=True))
    pads = tuple(max(0, max_shift - margin) for margin in margins)
    padded = jnp.pad(images, [(0, 0), *((pad, pad) for pad in pads), (0, 0)], mode="edge")
    centre = jnp.array(margins) + jnp.array(pads)

    def view(row: Array, image: Array) -> Array:
        flip_key, shift_key = jax.random.split(jax.random.fold_in(key, row))
        top, left = centre + jax.random.randint(shift_key, (2,), -max_shift, max_shift + 1)
        seen = jax.lax.dynamic_slice(image, (top, left, 0), (*window, image.shape[2]))
        return jnp.where(jax.random.bernoulli(flip_key), seen[:, ::-1], seen)

    return jax.vmap(view)(rows, padded)
