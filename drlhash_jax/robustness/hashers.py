"""Image hashes behind one call: saved models of this package, and the training-free hashes of ImageHash."""

import io
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from drlhash_jax.data import ImageSpec, decode_image
from drlhash_jax.errors import UserError
from drlhash_jax.runs import encode, load_model, selected_bits

PERCEPTUAL_HASHES = ("dhash", "phash", "whash")


class Hasher(Protocol):
    """Anything that turns images into codes."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Codes {0, 1} ``[n, K]`` of uint8 RGB images ``[n, H, W, 3]``."""


def _at_model_size(images: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Images at the size that a model's image files were decoded to, on the same path."""
    if images.shape[1:3] == (spec.size, spec.size):
        return images
    decoded = []
    for image in images:
        # A bitmap keeps every level, and nothing but decode_image ever resizes for a model.
        file = io.BytesIO()
        Image.fromarray(image).save(file, "BMP")
        decoded.append(decode_image(file.getvalue(), spec))
    return np.stack(decoded)


def model_hasher(folder: Path, bits: int | None = None, selector: str | None = None) -> Hasher:
    """The codes of a saved model.

    Args:
      folder: with ``params.safetensors`` and ``model.json``, as a run writes it to ``model/``.
      bits: length p of a stored selection; None, with selector None, for all bits.
      selector: who made that selection, e.g. "ppo".

    Returns:
      Hasher. Images of another size than the model's image files were decoded to are cut and resized as they were.

    Raises:
      UserError: not a saved model of colour images, or no such selection.
    """
    model = load_model(folder)
    if model.spec.kind != "images" or len(model.spec.mean) != 3:
        channels = "" if model.spec.kind != "images" else f" of {len(model.spec.mean)} channel(s)"
        raise UserError(f"{folder} reads {model.spec.kind}{channels}; a hash of images needs a model of colour images")
    # Refused here, not at the first image.
    selected_bits(model, bits, selector)
    size = ImageSpec(**model.image_files) if model.image_files else None

    def codes(images: np.ndarray) -> np.ndarray:
        images = _at_model_size(images, size) if size else images
        return encode(model, images, bits, selector, role="database")

    return codes


def perceptual_hasher(name: str, side: int = 8) -> Hasher:
    """One of ImageHash's hashes, side x side bits, row by row.

    Args:
      name: one of `PERCEPTUAL_HASHES`.
      side: of the grid of bits; a power of 2 for whash.

    Returns:
      Hasher.

    Raises:
      UserError: no such hash, or the package ImageHash is not installed.
    """
    if name not in PERCEPTUAL_HASHES:
        raise UserError(f"hash {name!r} is unknown: choose one of {', '.join(PERCEPTUAL_HASHES)}")
    try:
        import imagehash
    except ImportError as error:
        raise UserError(f"{name} needs the package ImageHash: pip install 'drlhash-jax[report]'") from error
    function = getattr(imagehash, name)

    def codes(images: np.ndarray) -> np.ndarray:
        hashes = [function(Image.fromarray(image), hash_size=side).hash.ravel() for image in images]
        return np.array(hashes, np.uint8).reshape(len(images), side * side)

    return codes
