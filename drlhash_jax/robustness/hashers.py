"""Image hashes behind one call: saved models of this package, and the training-free hashes of ImageHash."""

import io
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from drlhash_jax import training
from drlhash_jax.data import ImageSpec, decode_image
from drlhash_jax.errors import UserError
from drlhash_jax.runs import Model, load_model

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


def _selected_bits(model: Model, bits: int | None, selector: str | None, folder: Path) -> np.ndarray:
    """Pool positions int64 ``[p]`` of a stored selection; all of them if none is asked for."""
    if bits is None and selector is None:
        return np.arange(model.num_bits)
    if bits is None or selector is None:
        raise UserError(f"bits={bits}, selector={selector}: give both, or neither for all bits of {folder}")
    if selector not in model.selections.get(bits, {}):
        stored = [f"{length} {name}" for length, names in model.selections.items() for name in names]
        raise UserError(f"{folder} has no {bits} bits by {selector}; it has {', '.join(stored) or 'no selections'}")
    return np.array(model.selections[bits][selector])


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
    order = _selected_bits(model, bits, selector, folder)
    size = ImageSpec(**model.image_files) if model.image_files else None

    def codes(images: np.ndarray) -> np.ndarray:
        images = _at_model_size(images, size) if size else images
        return training.encode_codes(model.encoder, model.params, images, model.spec)[:, order]

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
