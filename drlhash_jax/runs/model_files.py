"""What inference needs of an encoder: parameters as safetensors and a JSON description."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from drlhash_jax.encoders import ENCODERS, InputSpec, make_encoder
from drlhash_jax.files import sha256_of, write_atomically, write_json
from drlhash_jax.errors import UserError

_SEPARATOR = "/"


class Model(NamedTuple):
    """A saved model, ready to encode.

    Attributes:
      encoder: module whose ``apply({"params": params}, x, train=False)`` gives logits ``[B, num_bits]``.
      params: its parameters.
      spec: normalisation of its inputs.
      num_bits: K; bit k is 1 iff logit k >= 0.
      selections: length -> selector -> pool positions in order of choice.
      image_files: fields of the `ImageSpec` that image files were decoded with; None if inputs were not files.
    """

    encoder: nn.Module
    params: dict
    spec: InputSpec
    num_bits: int
    selections: dict[int, dict[str, list[int]]]
    image_files: dict | None


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


def load_model(folder: Path) -> Model:
    """Reads what `save_model` wrote.

    Args:
      folder: with ``params.safetensors`` and ``model.json``.

    Returns:
      Model.

    Raises:
      UserError: a file is missing, damaged, or does not fit the other.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        packed = (folder / "params.safetensors").read_bytes()
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}; a model folder has model.json and params.safetensors"
        ) from error
    except ValueError as error:
        raise UserError(f"{folder}/model.json is not JSON: {error}") from error
    try:
        return _assemble(description, packed)
    except (KeyError, TypeError, AttributeError, ValueError, SafetensorError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{folder} is not a saved model: {reason}") from error


def _assemble(description: dict, packed: bytes) -> Model:
    if hashlib.sha256(packed).hexdigest() != description["sha256"]:
        raise ValueError("params.safetensors is damaged, its SHA-256 differs from model.json")
    if description["encoder"] not in ENCODERS:
        raise ValueError(f"encoder {description['encoder']} is unknown, there are {', '.join(ENCODERS)}")
    params, num_bits = unflatten_params(load(packed)), description["num_bits"]
    width = len(params["head"]["bias"])
    if width != num_bits:
        raise ValueError(f"model.json has {num_bits} bits, params.safetensors {width}")
    # A module must be hashable to be compiled for, and JSON knows no tuples.
    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in description["options"].items()
    }
    inputs = description["input"]
    mean, scale = (np.array(inputs[name], np.float32) for name in ("mean", "scale"))
    return Model(
        make_encoder(description["encoder"], num_bits, **options),
        params,
        InputSpec(mean, scale, inputs["kind"], inputs["image_size"], inputs["crop_size"]),
        num_bits,
        {int(bits): by_selector for bits, by_selector in description["selections"].items()},
        inputs["image_files"],
    )
