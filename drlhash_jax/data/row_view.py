"""Rows of an array that is mapped from a file, without a copy of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

# Rows of a mapped array that take no more than this are copied: reading them again and again would be slower.
SMALL_BYTES = 256 * 2**20
_PIECE_BYTES = 64 * 2**20


class RowView:
    """Rows of an array, read from it when they are asked for.

    Attributes:
      shape: of the rows in view, ``[n, ...]``.
      dtype: of the array.
      ndim: number of axes.
    """

    def __init__(self, array: np.ndarray, indices: np.ndarray):
        """Reads nothing.

        Args:
          array: ``[N, ...]``, usually a memmap.
          indices: int ``[n]``, row numbers from 0 to N - 1, in any order.
        """
        self._array, self._indices = array, np.asarray(indices)
        self.shape = (len(self._indices), *array.shape[1:])
        self.dtype = array.dtype
        self.ndim = array.ndim

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, part: Any) -> np.ndarray:
        """Rows in memory: those of a slice, of an array of integers, or one."""
        return np.asarray(self._array[self._indices[part]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory; without this NumPy would ask for them one by one."""
        if copy is False:
            raise ValueError("rows of a mapped array are read from its file: a copy cannot be avoided")
        return np.asarray(self[:], dtype)

    def select(self, indices: np.ndarray) -> "RowView":
        """A view of some of the rows in view."""
        return RowView(self._array, self._indices[indices])


def select_rows(
    array: np.ndarray | RowView, indices: np.ndarray, small_bytes: int = SMALL_BYTES
) -> np.ndarray | RowView:
    """Rows of an array, without filling the memory.

    Args:
      array: ``[N, ...]`` in memory, mapped from a file, or in view.
      indices: int ``[n]``, row numbers.
      small_bytes: the most that rows of a mapped array may take in memory.

    Returns:
      ``[n, ...]`` of the array's dtype: a copy if the array is in memory or the rows are small; else a view, which
      reads rows when it is indexed.
    """
    indices = np.asarray(indices)
    num_bytes = len(indices) * int(np.prod(array.shape[1:])) * np.dtype(array.dtype).itemsize
    if num_bytes > small_bytes and isinstance(array, RowView):
        return array.select(indices)
    if num_bytes > small_bytes and isinstance(array, np.memmap):
        return RowView(array, indices)
    return np.asarray(array[indices])


def row_pieces(array: np.ndarray | RowView) -> Iterator[tuple[int, np.ndarray]]:
    """First row and rows of pieces of about 64 MiB; of a mapped array one piece at a time is in memory."""
    row_bytes = int(np.prod(array.shape[1:])) * np.dtype(array.dtype).itemsize
    step = max(1, _PIECE_BYTES // max(row_bytes, 1))
    for start in range(0, len(array), step):
        yield start, np.asarray(array[start : start + step])
