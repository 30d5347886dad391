"""Arrays in .npy files: the one reader of the headers, which trusts nothing that they declare."""

import math
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from drlhash_jax.errors import UserError

_MAX_AXES = 32
_MAX_BYTES = 2**62


class Header(NamedTuple):
    """What a .npy declares.

    Attributes:
      shape: length of every axis.
      fortran_order: whether the first axis varies fastest.
      dtype: of the values, numbers or truth values.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def one_line(error: Exception) -> str:
    """What an error says, for the end of a message: without line breaks, and cut."""
    text = " ".join(str(error).split())[:200]
    return text or type(error).__name__


def read_header(file: BinaryIO, where: str) -> Header:
    """Reads the header of a .npy; its values are not touched.

    Args:
      file: at the start of the array; afterwards at its values.
      where: the file, for messages.

    Raises:
      UserError: not a header, a shape that no array has, or values that are not numbers.
    """
    try:
        with warnings.catch_warnings():
            # NumPy remarks on headers that Python 2 wrote.
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read(file)
    except Exception as error:
        # A header is a Python literal, and what Python raises on crafted ones is anything up to MemoryError.
        raise UserError(f"{where} is not a .npy array: {one_line(error)}") from error
    if dtype.hasobject or dtype.names or dtype.kind not in "fiub":
        raise UserError(f"{where} holds {str(dtype)[:80]}: give numbers (objects are never unpickled)")
    whole = all(type(length) is int and length >= 0 for length in shape)
    # Axes of length 0 hide the others from the product, but not from NumPy.
    largest = math.prod(max(length, 1) for length in shape) * dtype.itemsize if whole else 0
    if not whole or len(shape) > _MAX_AXES or largest > _MAX_BYTES:
        raise UserError(f"{where} declares the shape {str(shape)[:80]}, which no array has: it is damaged")
    return Header(shape, fortran_order, dtype)


def _check_size(header: Header, available: int, where: str) -> None:
    if header.num_bytes != available:
        raise UserError(
            f"{where} declares the shape {header.shape} of {header.dtype}, {header.num_bytes} bytes, "
            f"and holds {available}: it is damaged"
        )


def read_npy(file: BinaryIO, num_bytes: int, where: str) -> np.ndarray:
    """Reads an array from a stream, if its header declares just what is there.

    Args:
      file: at the start of the array.
      num_bytes: of the stream, the header among them.
      where: the file, for messages.

    Returns:
      The array, read-only.

    Raises:
      UserError: see `read_header`; or another size than declared.
    """
    header = read_header(file, where)
    _check_size(header, num_bytes - file.tell(), where)
    content = file.read()
    # A stream may end before the length that its archive states.
    _check_size(header, len(content), where)
    return np.frombuffer(content, header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")


def map_npy(path: Path) -> np.ndarray:
    """Maps a .npy file, read-only; an empty array, of which there is nothing to map, is made.

    Raises:
      UserError: see `read_npy`.
    """
    with open(path, "rb") as file:
        header = read_header(file, str(path))
        start = file.tell()
    _check_size(header, path.stat().st_size - start, str(path))
    if not header.num_bytes:
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", start, header.shape, "F" if header.fortran_order else "C")
