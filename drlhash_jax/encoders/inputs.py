"""From stored inputs to what a network sees: one normalisation for training, evaluation and query."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.types import Array

# Channel statistics of ImageNet on a 0..1 scale, which published encoders expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Encoders whose published weights expect other statistics: mean and scale of a byte.
INPUT_STATISTICS = {"efficientnet_lite0": (127.0, 128.0)}


class InputSpec(NamedTuple):
    """How inputs are normalised: (x - mean) / scale, images also resized.

    Attributes:
      kind: "images" uint8 ``[N, H, W, channels]``, or "features" float ``[N, D]``.
      mean: float32 ``[channels]`` or ``[D]``, in the units of the stored input.
      scale: float32, like mean.
      image_size: side to resize images to; None leaves them as they are.
      crop_size: side of the central square that the network sees after that; None for the whole image.
    """

    kind: str
    mean: np.ndarray
    scale: np.ndarray
    image_size: int | None = None
    crop_size: int | None = None


def fit_input_spec(
    inputs: np.ndarray, image_size: int | None = None, encoder: str = "", crop_size: int | None = None
) -> InputSpec:
    """Chooses the normalisation from the training inputs.

    Args:
      inputs: uint8 images ``[n, H, W, channels]`` or float features ``[n, D]`` of the training rows.
      image_size: side to resize images to.
      encoder: name of the encoder; `INPUT_STATISTICS` has those with statistics of their own.
      crop_size: side of the central square that the network sees.

    Returns:
      InputSpec: ImageNet statistics for colour images, 0.5 +- 0.5 for other images. Features are centred and divided
      by one common scale, which keeps their geometry.
    """
    if inputs.ndim == 4:
        channels = inputs.shape[3]
        if encoder in INPUT_STATISTICS:
            mean, scale = (np.full(channels, value, np.float32) for value in INPUT_STATISTICS[encoder])
            return InputSpec("images", mean, scale, image_size, crop_size)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.5,) * channels)
        return InputSpec("images", 255 * np.float32(mean), 255 * np.float32(std), image_size, crop_size)
    inputs = np.asarray(inputs, np.float32)
    mean = inputs.mean(axis=0)
    spread = np.sqrt(np.mean((inputs - mean) ** 2))
    return InputSpec("features", mean, np.full_like(mean, max(float(spread), 1e-6)))


def prepare_inputs(
    inputs: Array, mean: Array, scale: Array, image_size: int | None = None, crop_size: int | None = None
) -> Array:
    """Normalised float32 inputs.

    Shapes are as stored, but images are bilinearly resized to ``[B, image_size, image_size, .]`` and then cut to the
    central ``[B, crop_size, crop_size, .]`` where these are given.
    """
    mean, scale = (jnp.expand_dims(statistic, range(inputs.ndim - 1)) for statistic in (mean, scale))
    x = (inputs.astype(jnp.float32) - mean) / scale
    if x.ndim != 4:
        return x
    if image_size is not None and x.shape[1:3] != (image_size, image_size):
        x = jax.image.resize(x, (x.shape[0], image_size, image_size, x.shape[3]), "bilinear")
    if crop_size is not None:
        top, left = ((side - crop_size) // 2 for side in x.shape[1:3])
        x = x[:, top : top + crop_size, left : left + crop_size]
    return x
