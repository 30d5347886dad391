"""SHA-256 of arrays, taken piece by piece."""

import hashlib
import json
from typing import Any

import numpy as np

from drlhash_jax.data.row_view import RowView, row_pieces


def finish_digest(values: Any, dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """Digest of an array from the running `hashlib.sha256` of its values; its type and shape are added."""
    values.update(json.dumps([dtype.newbyteorder("<").str, list(shape)]).encode())
    return values.hexdigest()


def array_digest(array: np.ndarray | RowView) -> str:
    """SHA-256 of an array ``[N, ...]``, as hexadecimal digits.

    It covers the values, row by row in little-endian order, and after them ``["<f4", [N, ...]]`` as JSON.
    """
    values = hashlib.sha256()
    little = np.dtype(array.dtype).newbyteorder("<")
    for _, piece in row_pieces(array):
        values.update(np.ascontiguousarray(piece.astype(little, copy=False)).reshape(-1).view(np.uint8).data)
    return finish_digest(values, little, array.shape)
