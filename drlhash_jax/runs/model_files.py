"""What inference needs of a trained method: its parameters as safetensors, and a JSON description beside them.

Nothing here knows a method: parameters are any nested dictionary of arrays, and the configuration is stored as it is.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from drlhash_jax.encoders import InputSpec
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of, write_atomically, write_json
from drlhash_jax.runs.stored_config import FORMAT, check_format, read_object

_DESCRIPTION, _PARAMS = "model.json", "params.safetensors"
_SEPARATOR = "/"
# Kinds of NumPy's types that safetensors gives back as they were.
_STORABLE_KINDS = "biuf"


class ModelRecord(NamedTuple):
    """A model as it is saved.

    Attributes:
      config: the run's configuration, a plain nested dict of JSON values.
      method_name: which method made it.
      num_bits: K; bit k is 1 iff logit k >= 0.
      num_classes: C of the training labels.
      input_spec: normalisation of its inputs.
      input_shape: of one training row as stored, e.g. (8, 8, 1).
      params: nested dict of arrays, what the method keeps for inference; may be empty. Booleans, integers and floats of
        NumPy's own types.
      selections: length -> selector -> pool positions in order of choice.
      image_files: fields of the `ImageSpec` that image files were decoded with; None if inputs were not files.
    """

    config: dict
    method_name: str
    num_bits: int
    num_classes: int
    input_spec: InputSpec
    input_shape: tuple[int, ...]
    params: dict
    selections: dict[int, dict[str, list[int]]]
    image_files: dict | None = None


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Nested parameters as flat arrays named by their path, e.g. "head/kernel".

    An empty dictionary becomes an empty array whose name ends with the separator, so that it comes back.

    Raises:
      ValueError: a name is empty or has a "/" in it.
    """
    flat = {}
    for name, value in params.items():
        if not name or _SEPARATOR in name:
            raise ValueError(f"parameter {prefix}{name!r}: a name must not be empty, and must not have a / in it")
        path = f"{prefix}{name}"
        if not isinstance(value, Mapping):
            flat[path] = np.asarray(value)
        elif value:
            flat |= flatten_params(value, f"{path}{_SEPARATOR}")
        else:
            flat[f"{path}{_SEPARATOR}"] = np.zeros(0, np.uint8)
    return flat


def unflatten_params(arrays: Mapping[str, np.ndarray]) -> dict:
    """Inverse of `flatten_params`."""
    params: dict = {}
    for path, array in arrays.items():
        *parents, name = path.split(_SEPARATOR)
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        # The name of an empty dictionary ends with the separator: nothing stands behind it.
        if name:
            node[name] = array
    return params


def _describe_inputs(spec: InputSpec) -> dict:
    """Every field of an InputSpec as JSON values; JSON has digits enough to give the same float32 back."""
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return {
        name: value if value is None or isinstance(value, str | int | float) else np.asarray(value, np.float64).tolist()
        for name, value in values.items()
    }


def _read_inputs(described: dict) -> InputSpec:
    """Inverse of `_describe_inputs`."""
    fields = {field.name for field in dataclasses.fields(InputSpec)}
    if missing := sorted(fields - described.keys()):
        raise KeyError(missing[0])
    as_array = lambda value: np.array(value, np.float32) if isinstance(value, list) else value
    return InputSpec(**{name: as_array(value) for name, value in described.items()})


def write_model(directory: Path, record: ModelRecord) -> None:
    """Writes ``params.safetensors`` and ``model.json``.

    Args:
      directory: created if needed.
      record: ModelRecord.

    Raises:
      TypeError: an array's type would not come back as it was (bfloat16).
      UserError: the files cannot be written.
    """
    arrays = flatten_params(record.params)
    for name, array in arrays.items():
        if array.dtype.kind not in _STORABLE_KINDS:
            raise TypeError(f"parameter {name}: a model file does not keep arrays of {array.dtype}")
    # safetensors writes the memory of an array as it lies, a transposed one in the wrong order.
    packed = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    path = directory / _PARAMS
    write_atomically(path, lambda file: file.write(packed))
    description = {
        "format": FORMAT,
        "method": record.method_name,
        "num_bits": record.num_bits,
        "num_classes": record.num_classes,
        "threshold": "bit 1 iff logit >= 0",
        "input": _describe_inputs(record.input_spec),
        "input_shape": list(record.input_shape),
        "image_files": record.image_files,
        "selections": record.selections,
        "config": record.config,
        "sha256": sha256_of(path),
    }
    write_json(directory / _DESCRIPTION, description)


def read_model(directory: Path) -> ModelRecord:
    """Reads what `write_model` wrote.

    Args:
      directory: with ``params.safetensors`` and ``model.json``.

    Returns:
      ModelRecord; tuples of the configuration are lists.

    Raises:
      UserError: a file is missing, damaged, of another format, or does not fit the other.
    """
    directory = Path(directory)
    missing = [name for name in (_DESCRIPTION, _PARAMS) if not (directory / name).is_file()]
    if missing:
        raise UserError(f"{directory} has no {missing[0]}: a model's directory has {_DESCRIPTION} and {_PARAMS}")
    description = read_object(directory / _DESCRIPTION)
    check_format(directory / _DESCRIPTION, description)
    try:
        return _assemble(description, (directory / _PARAMS).read_bytes())
    except OSError as error:
        raise UserError(f"{directory / _PARAMS} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, SafetensorError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{directory} is not a saved model: {reason}") from error


def _assemble(description: dict, packed: bytes) -> ModelRecord:
    if hashlib.sha256(packed).hexdigest() != description["sha256"]:
        raise ValueError(f"{_PARAMS} is damaged, its SHA-256 differs from {_DESCRIPTION}")
    num_bits = int(description["num_bits"])
    selections = {int(length): dict(chosen) for length, chosen in description["selections"].items()}
    for length, chosen in selections.items():
        for selector, order in chosen.items():
            if len(order) != length or not set(order) <= set(range(num_bits)):
                raise ValueError(f"selection {length} by {selector} is not {length} of the bits 0 to {num_bits - 1}")
    facts = {
        "config": dict(description["config"]),
        "method_name": description["method"],
        "num_bits": num_bits,
        "num_classes": int(description["num_classes"]),
        "input_spec": _read_inputs(description["input"]),
        "input_shape": tuple(int(side) for side in description["input_shape"]),
        "params": unflatten_params(load(packed)),
        "selections": selections,
        "image_files": description["image_files"],
    }
    return ModelRecord(**facts)
