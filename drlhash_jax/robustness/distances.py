"""Hamming distances of images to their copies and to each other, counted: all that a ROC curve needs."""

import numpy as np

from drlhash_jax.codes import as_codes
from drlhash_jax.errors import UserError


def count_same(codes: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """Images by the distance to their attacked copy.

    Args:
      codes: {0, 1} or {-1, 1} array ``[n, K]``.
      attacked: {0, 1} or {-1, 1} array ``[n, K]``, row i being the copy of image i.

    Returns:
      int64 ``[K + 1]``, summing to n.

    Raises:
      UserError: not codes, or shapes that differ.
    """
    codes, attacked = as_codes(codes), as_codes(attacked, "codes of copies")
    if codes.shape != attacked.shape:
        raise UserError(f"codes {list(codes.shape)} and codes of copies {list(attacked.shape)} do not fit")
    distance = np.sum(codes != attacked, axis=1)
    return np.bincount(distance, minlength=codes.shape[1] + 1)


def count_different(codes: np.ndarray) -> np.ndarray:
    """Pairs of different images by their distance.

    Args:
      codes: {0, 1} or {-1, 1} array ``[n, K]``, one row per image.

    Returns:
      int64 ``[K + 1]``, summing to n (n - 1) / 2.

    Raises:
      UserError: not codes.
    """
    codes = as_codes(codes)
    packed = np.packbits(codes, axis=1)
    counts = np.zeros(codes.shape[1] + 1, np.int64)
    # A row at a time: memory stays linear in n.
    for row in range(len(packed) - 1):
        distance = np.bitwise_count(packed[row] ^ packed[row + 1 :]).sum(axis=1, dtype=np.int64)
        counts += np.bincount(distance, minlength=len(counts))
    return counts
