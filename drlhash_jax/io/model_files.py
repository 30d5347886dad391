"""What inference needs of an encoder: parameters as safetensors and a JSON description."""

from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save

from drlhash_jax.encoders import InputSpec
from drlhash_jax.io.files import sha256_of, write_atomically, write_json

_SEPARATOR = "/"


def flatten_params(params: dict) -> dict[str, np.ndarray]:
    """Parameters as flat arrays named by their path, e.g. "head/kernel"."""
    return {name: np.asarray(value) for name, value in flatten_dict(params, sep=_SEPARATOR).items()}


def unflatten_params(arrays: dict[str, np.ndarray]) -> dict:
    """Inverse of `flatten_params`."""
    return unflatten_dict(arrays, sep=_SEPARATOR)


def save_model(
    folder: Path,
    params: dict,
    spec: InputSpec,
    *,
    encoder: str,
    options: dict,
    num_bits: int,
    selections: dict,
    image_files: dict | None = None,
) -> None:
    """Writes ``params.safetensors`` and ``model.json``.

    Args:
      folder: created if needed.
      params: the encoder's parameters.
      spec: normalisation of its inputs.
      encoder: its name.
      options: its attributes.
      num_bits: K.
      selections: length -> pool positions in order of choice.
      image_files: how image files were decoded; None if inputs were not files.
    """
    if jax.process_index() != 0:
        return
    path = folder / "params.safetensors"
    write_atomically(path, lambda file: file.write(save(flatten_params(params))))
    description = {
        "encoder": encoder,
        "options": options,
        "num_bits": num_bits,
        "threshold": "bit 1 iff logit >= 0",
        "input": {
            "kind": spec.kind,
            "image_size": spec.image_size,
            "crop_size": spec.crop_size,
            "mean": [float(x) for x in spec.mean],
            "scale": [float(x) for x in spec.scale],
            "image_files": image_files,
        },
        "selections": selections,
        "sha256": sha256_of(path),
    }
    write_json(folder / "model.json", description)
