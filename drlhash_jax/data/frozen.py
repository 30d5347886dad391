"""Codes that rows of a dataset have already, from a file: a database that grows keeps them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.codes import as_codes
from drlhash_jax.data.npz_files import read_npz
from drlhash_jax.errors import UserError


class FrozenRows(NamedTuple):
    """Rows whose codes must stay.

    Attributes:
      rows: int64 ``[f]``, their numbers in the dataset, each once.
      codes: uint8 ``[f, K]``.
    """

    rows: np.ndarray
    codes: np.ndarray

    def among(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of these rows of the dataset have such codes.

        Args:
          rows: int ``[r]``, row numbers, each once.

        Returns:
          Their places in `rows`, int64 ``[g]``, and their codes, uint8 ``[g, K]``.
        """
        _, places, found = np.intersect1d(rows, self.rows, return_indices=True)
        return places, self.codes[found]


def read_frozen_rows(path: str, num_rows: int, num_bits: int) -> FrozenRows:
    """Reads an .npz with `rows`, integers ``[f]``, and `codes`, ``[f, K]`` of {0, 1} or {-1, 1}.

    Args:
      path: of the file.
      num_rows: of the dataset.
      num_bits: K.

    Raises:
      UserError: no such file or arrays, another code length, or row numbers that the dataset does not have, or twice.
    """
    rows, codes = read_npz(Path(path), "rows"), as_codes(read_npz(Path(path), "codes"), f"{path}:codes")
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(rows) != len(codes):
        raise UserError(
            f"{path}: rows are {rows.dtype} {rows.shape} and codes {codes.shape}: give one row number a code"
        )
    if codes.shape[1] != num_bits:
        raise UserError(f"{path}: codes of {codes.shape[1]} bits, and the run makes codes of {num_bits}")
    if rows.min() < 0 or rows.max() >= num_rows or len(np.unique(rows)) < len(rows):
        raise UserError(f"{path}: rows must be numbers from 0 to {num_rows - 1}, each once")
    return FrozenRows(rows.astype(np.int64), codes)
