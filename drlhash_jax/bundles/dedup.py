"""Rows of a bundle that are near each other, in groups."""

from collections.abc import Iterator

import numpy as np

from drlhash_jax.bundles.bundle import Bundle
from drlhash_jax.bundles.hamming import code_keys, within

# Codes that are compared with all others at a time; what is within the radius is kept in memory for so many.
_BLOCK_ROWS = 4_096


def _roots(parents: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The first member of the group of each row, int64 ``[n]``."""
    found = parents[rows]
    while (further := parents[found]).tobytes() != found.tobytes():
        found = further
    return found


def _connect(neighbours: Iterator[np.ndarray], num_rows: int) -> np.ndarray:
    """The first member of each row's group, int64 ``[N]``, where rows of one array are in one group."""
    parents = np.arange(num_rows)
    for rows in neighbours:
        roots = _roots(parents, rows)
        parents[roots] = parents[rows] = roots.min()
    return _roots(parents, np.arange(num_rows))


def _near(codes: np.ndarray, radius: int) -> Iterator[np.ndarray]:
    """Rows within the radius of each code, itself among them."""
    for start in range(0, len(codes), _BLOCK_ROWS):
        for found in within(codes[start : start + _BLOCK_ROWS], codes, radius):
            yield found.rows


def count_pairs(codes: np.ndarray, radius: int) -> np.ndarray:
    """Pairs of rows by their distance, as far as a radius: int64 ``[radius + 1]``.

    Args:
      codes: packed uint8 ``[N, B]``.
      radius: at least 0.
    """
    codes = np.ascontiguousarray(codes)
    _, first, sizes = np.unique(code_keys(codes), return_index=True, return_counts=True)
    distinct, counts = codes[first], np.zeros(radius + 1)
    for start in range(0, len(distinct), _BLOCK_ROWS):
        for row, found in enumerate(within(distinct[start : start + _BLOCK_ROWS], distinct, radius), start):
            counts += np.bincount(found.distances, sizes[row] * sizes[found.rows], minlength=radius + 1)
    # Every pair was met twice, and every row with itself.
    counts[0] -= len(codes)
    return (counts / 2).astype(np.int64)


def group_codes(codes: np.ndarray, radius: int) -> list[np.ndarray]:
    """Groups of two rows or more, in which a chain of steps within a radius leads from every row to every other.

    Two rows of a group may be further apart than the radius. Every code is compared with every other, each distinct one
    once.

    Args:
      codes: packed uint8 ``[N, B]``.
      radius: at least 0; 0 is for equal codes.

    Returns:
      Rows int64 of each group, ascending; groups in the order of their first rows.

    Raises:
      UserError: a negative radius.
    """
    codes = np.ascontiguousarray(codes)
    _, first, numbers = np.unique(code_keys(codes), return_index=True, return_inverse=True)
    # Distinct codes by their first row, so that the first member of a group is its first row's code.
    place = np.argsort(np.argsort(first))
    groups = _connect(_near(codes[np.sort(first)], radius), len(first))[place[numbers]]
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return [part for part in parts if len(part) > 1]


def find_groups(bundle: Bundle, radius: int) -> list[np.ndarray]:
    """`group_codes` of a bundle's rows."""
    return group_codes(bundle.codes, radius)
