"""Files that are either whole or absent: written under another name, then renamed."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from drlhash_jax.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# Kinds of NumPy's types that an .npz gives back as they were; bfloat16 is not among them, and objects are pickled.
_STORABLE_KINDS = "biufcU"


def write_error(path: Path | str, error: OSError) -> UserError:
    """The one line about a file that cannot be written, to be raised.

    Args:
      path: the file.
      error: what the operating system said.
    """
    # NumPy says how much of an array it wrote, and not why it stopped.
    cut_short = error.errno is None and "requested and" in str(error)
    hint = "; make room and run the same command again" if cut_short or error.errno in _NO_ROOM else ""
    return UserError(f"{path} cannot be written: {error.strerror or error}{hint}")


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file so that a kill or a full disk at any moment leaves the old one or the new one.

    Args:
      path: the file; its directory is created if needed.
      write: writes the content into an open binary file.

    Raises:
      UserError: the operating system refuses; what `write` itself raises passes through. Nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def json_text(value: object) -> bytes:
    """A value as the indented JSON of files, in UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: object) -> None:
    """Writes a value as indented JSON, atomically."""
    content = json_text(value)
    write_atomically(path, lambda file: file.write(content))


def write_json_lines(path: Path, values: list) -> None:
    """Writes one value per line, as JSON, atomically."""
    text = "".join(json.dumps(value, allow_nan=False) + "\n" for value in values)
    write_atomically(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays as an uncompressed .npz, atomically.

    Raises:
      TypeError: an array's type would not come back as it was (objects, bfloat16).
      UserError: the file cannot be written.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind not in _STORABLE_KINDS:
            raise TypeError(f"{name}: an .npz does not keep arrays of {np.asarray(array).dtype}")
    write_atomically(path, lambda file: np.savez(file, **arrays))


def read_arrays(path: Path | BinaryIO) -> dict[str, np.ndarray]:
    """Reads an .npz whole; nothing in it is ever unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
