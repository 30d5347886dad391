"""Questions to a bundle by what its model reads: embeddings and images."""

from pathlib import Path

import numpy as np

from drlhash_jax.bundles import Answer, Bundle, ask
from drlhash_jax.data import UnreadableImageError, decode_image
from drlhash_jax.errors import UserError
from drlhash_jax.runs import encode
from drlhash_jax.serving.inputs import array_blocks, read_inputs
from drlhash_jax.serving.models import ServedModel, image_spec, open_model_of


def _codes(bundle: Bundle, served: ServedModel, inputs: np.ndarray) -> np.ndarray:
    """Codes {0, 1} uint8 ``[Q, K]`` of the other side than the bundle's, where a model has two."""
    role = {"database": "query", "query": "database", None: None}[bundle.manifest.role]
    return encode(served.model, inputs, served.bits, served.selector, role=role)


def ask_by_array(
    bundle: Bundle, model: str | Path, address: str, k: int | None = None, radius: int | None = None
) -> list[Answer]:
    """What is near each row of an array.

    Args:
      bundle: Bundle.
      model: the saved model, or the finished run, that made its codes.
      address: FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY of inputs ``[Q, ...]``.
      k: see `ask`.
      radius: see `ask`.

    Raises:
      UserError: another model, inputs that it cannot read, or see `ask`.
    """
    served = open_model_of(bundle, model)
    inputs = read_inputs("embedding", address)
    codes = np.concatenate([_codes(bundle, served, block) for block in array_blocks(inputs, address)])
    return ask(bundle, [f"row {row}" for row in range(len(codes))], codes, k, radius)


def ask_by_image(
    bundle: Bundle, model: str | Path, path: Path, k: int | None = None, radius: int | None = None
) -> Answer:
    """What is near an image file, which is decoded as the model's training images were.

    Args:
      bundle: Bundle.
      model: the saved model, or the finished run, that made its codes.
      path: of the image.
      k: see `ask`.
      radius: see `ask`.

    Raises:
      UserError: another model, one that reads no image files, an image that cannot be read, or see `ask`.
    """
    served = open_model_of(bundle, model)
    try:
        image = decode_image(path, image_spec(served))
    except UnreadableImageError as error:
        raise UserError(f"--image={path} cannot be read: {error}") from error
    (answer,) = ask(bundle, [str(path)], _codes(bundle, served, image[None]), k, radius)
    return answer
