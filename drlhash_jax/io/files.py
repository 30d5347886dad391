"""Files that are either whole or absent: written under another name, then renamed.

Where several processes share a run, process 0 alone writes, and the others get what it wrote by `from_first_process`.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from jax.experimental import multihost_utils

from drlhash_jax.types import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file so that a kill at any moment leaves the old one or the new one; process 0 only."""
    if jax.process_index() != 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """Writes a value as indented JSON, atomically."""
    text = json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json_lines(path: Path, values: list) -> None:
    """Writes one value a line, as JSON, atomically."""
    text = "".join(json.dumps(value, allow_nan=False) + "\n" for value in values)
    write_atomically(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays as an uncompressed .npz, atomically."""
    write_atomically(path, lambda file: np.savez(file, **arrays))


def read_arrays(path: Path | BinaryIO) -> dict[str, np.ndarray]:
    """Reads an .npz whole; nothing in it is ever unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def from_first_process(arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
    """Process 0's arrays, or its None, in every process; the others' argument is ignored."""
    if jax.process_count() == 1:
        return arrays
    stream = io.BytesIO()
    if arrays is not None and jax.process_index() == 0:
        np.savez(stream, **arrays)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(stream.tell())))
    if size == 0:
        return None
    packed = np.frombuffer(stream.getvalue() or bytes(size), np.uint8)
    return read_arrays(io.BytesIO(np.asarray(multihost_utils.broadcast_one_to_all(packed)).tobytes()))


def in_first_process(function: Callable[[], Any]) -> Any:
    """What a function returns in process 0, and None elsewhere; its `UserError` is raised in every process."""
    result, message = None, ""
    if jax.process_index() == 0:
        try:
            result = function()
        except UserError as error:
            message = str(error)
    message = from_first_process({"message": np.array(message)})["message"].item()
    if message:
        raise UserError(message)
    return result


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Whether each flag is set in any process; the same answers in all."""
    if jax.process_count() == 1:
        return flags
    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
