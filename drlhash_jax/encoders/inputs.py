"""From stored inputs to what a network sees: one normalisation for training, evaluation and query."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from drlhash_jax.types import Array

# Channel statistics of ImageNet on a 0..1 scale, which published encoders expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Rows that the statistics of features are taken from, evenly spaced: all of them up to this number.
_SAMPLED_ROWS = 131_072


@struct.dataclass
class InputSpec:
    """How inputs are normalised: (x - mean) / scale, images also resized and cut. A pytree; sizes are static.

    Attributes:
      mean: float32 ``[channels]`` or ``[D]``, in the units of the stored input.
      scale: float32, like mean.
      kind: "images" uint8 ``[N, H, W, channels]``, or "features" float ``[N, D]``.
      image_size: side to resize images to; None leaves them as they are.
      crop_size: side of the central square that the network sees after that; None for the whole image.
    """

    mean: Array
    scale: Array
    kind: str = struct.field(pytree_node=False)
    image_size: int | None = struct.field(pytree_node=False, default=None)
    crop_size: int | None = struct.field(pytree_node=False, default=None)


def fit_input_spec(
    inputs: np.ndarray,
    image_size: int | None = None,
    crop_size: int | None = None,
    statistics: tuple[float, float] | None = None,
) -> InputSpec:
    """Chooses the normalisation from the training inputs.

    Args:
      inputs: uint8 images ``[n, H, W, channels]`` or float features ``[n, D]`` of the training rows.
      image_size: side to resize images to.
      crop_size: side of the central square that the network sees.
      statistics: mean and scale of a byte that the encoder expects of images; None for the usual ones.

    Returns:
      InputSpec: ImageNet statistics for colour images, 0.5 +- 0.5 for other images. Features are centred and divided
      by one common scale, which keeps their geometry; beyond 131,072 rows a sample gives both.
    """
    if len(inputs.shape) == 4:
        channels = inputs.shape[3]
        if statistics:
            mean, scale = (np.full(channels, value, np.float32) for value in statistics)
            return InputSpec(mean, scale, "images", image_size, crop_size)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
        return InputSpec(255 * np.float32(mean), 255 * np.float32(std), "images", image_size, crop_size)
    sample = np.asarray(inputs[:: -(-len(inputs) // _SAMPLED_ROWS)], np.float32)
    mean = sample.mean(axis=0)
    spread = np.sqrt(np.mean((sample - mean) ** 2))
    return InputSpec(mean, np.full_like(mean, max(float(spread), 1e-6)), "features")


def prepare_inputs(inputs: Array, spec: InputSpec, *, crop: bool = True) -> Array:
    """Normalised float32 inputs.

    Args:
      inputs: uint8 images or features as stored, ``[B, ...]``.
      spec: InputSpec.
      crop: whether images are cut to their centre; random views take their own part.

    Returns:
      Shapes as stored, but images are bilinearly resized to ``[B, image_size, image_size, .]`` and then cut to the
      central ``[B, crop_size, crop_size, .]`` where the spec has these.
    """
    mean, scale = (jnp.expand_dims(statistic, range(inputs.ndim - 1)) for statistic in (spec.mean, spec.scale))
    x = (inputs.astype(jnp.float32) - mean) / scale
    if x.ndim != 4:
        return x
    size = spec.image_size
    if size is not None and x.shape[1:3] != (size, size):
        x = jax.image.resize(x, (x.shape[0], size, size, x.shape[3]), "bilinear")
    if crop and spec.crop_size is not None:
        top, left = ((side - spec.crop_size) // 2 for side in x.shape[1:3])
        x = x[:, top : top + spec.crop_size, left : left + spec.crop_size]
    return x
