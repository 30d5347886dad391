"""Exact search in Hamming space over packed codes: by FAISS where it is installed and worth loading, or by NumPy.

Both give the same rows in the same order, ascending by (distance, row), which is that of FAISS's IndexBinaryFlat and of
a stable sort.
"""

import functools
import importlib.util
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax.errors import UserError

# Rows compared at a time: their words, and what is computed of them, stay in a core's second cache.
_BLOCK_ROWS = 32_768
# Pairs of codes that NumPy compares in the time in which FAISS is imported.
_FAISS_PAIRS = 30_000_000


class Neighbours(NamedTuple):
    """Rows near one query, ascending by (distance, row).

    Attributes:
      rows: int64 ``[n]``.
      distances: int32 ``[n]``.
    """

    rows: np.ndarray
    distances: np.ndarray


def _check(query_codes: np.ndarray, database_codes: np.ndarray) -> None:
    for name, codes in (("query codes", query_codes), ("database codes", database_codes)):
        if codes.dtype != np.uint8 or codes.ndim != 2:
            raise UserError(f"{name} are {codes.dtype} {list(codes.shape)}: give packed codes, uint8 [rows, bytes]")
    if query_codes.shape[1] != database_codes.shape[1]:
        raise UserError(
            f"query codes have {query_codes.shape[1]} bytes, database codes {database_codes.shape[1]}: "
            "codes of one length can be compared"
        )


@functools.cache
def _load_faiss() -> Any:
    """The module; None where it is not installed."""
    return importlib.import_module("faiss") if importlib.util.find_spec("faiss") else None


def _faiss(query_codes: np.ndarray, database_codes: np.ndarray) -> Any:
    """The module, if it is installed and there is enough to do for it."""
    return _load_faiss() if len(query_codes) * len(database_codes) >= _FAISS_PAIRS else None


def pad_to_words(codes: np.ndarray) -> np.ndarray:
    """Packed codes uint8 ``[N, B]`` with bytes of zero at the end, up to a multiple of eight: uint8 ``[N, B']``."""
    num_rows, num_bytes = codes.shape
    padded = np.zeros((num_rows, -(-num_bytes // 8) * 8), np.uint8)
    padded[:, :num_bytes] = codes
    return padded


def _words(codes: np.ndarray) -> np.ndarray:
    """Packed codes uint8 ``[N, B]`` as uint64 ``[ceil(B / 8), N]``, bytes of zero at the end."""
    return np.ascontiguousarray(pad_to_words(codes).view(np.uint64).T)


def code_keys(codes: np.ndarray) -> np.ndarray:
    """A value for each of the packed codes uint8 ``[N, B]``, equal where they are: for `numpy.unique`."""
    if codes.shape[1] > 8:
        return np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").ravel()
    # Whole numbers are sorted many times faster than opaque bytes.
    return pad_to_words(codes).view(np.uint64).ravel()


def _distances(query: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Distances ``[N]`` of words ``[W]`` from words ``[W, N]``: uint8 for one word, else uint16 or wider."""
    total = np.bitwise_count(database[0] ^ query[0])
    if len(query) > 1:
        total = total.astype(np.uint16 if len(query) < 1_000 else np.uint32)
    for word, column in zip(query[1:], database[1:]):
        total += np.bitwise_count(column ^ word)
    return total


def all_distances(query_codes: np.ndarray, database_codes: np.ndarray) -> np.ndarray:
    """Distances int32 ``[Q, N]`` of packed codes uint8 ``[Q, B]`` from packed codes uint8 ``[N, B]``.

    Raises:
      UserError: not packed codes, or of different lengths.
    """
    _check(query_codes, database_codes)
    database = _words(database_codes)
    return np.array([_distances(query, database) for query in _words(query_codes).T], np.int32)


def _nearest(distances: np.ndarray, k: int) -> np.ndarray:
    """Places of the k smallest, ascending by (distance, place), without sorting the others."""
    if k < len(distances):
        # The k-th smallest distance; of the places that have it the first ones count.
        counts = np.cumsum(np.bincount(distances))
        last = int(np.searchsorted(counts, k))
        below = np.flatnonzero(distances < last)
        places = np.concatenate([below, np.flatnonzero(distances == last)[: k - len(below)]])
    else:
        places = np.arange(len(distances))
    return places[np.argsort(distances[places], kind="stable")]


def _closer(best: Neighbours, distances: np.ndarray, start: int, k: int) -> Neighbours:
    """The k best so far, after the block of rows that begins at `start`; a block's rows lose ties with earlier ones."""
    if len(best.rows) < k:
        new = np.arange(len(distances))
    else:
        new = np.flatnonzero(distances < best.distances[-1])
        if not len(new):
            return best
    rows = np.concatenate([best.rows, start + new])
    together = np.concatenate([best.distances, distances[new].astype(np.int32)])
    order = _nearest(together, k)
    return Neighbours(rows[order], together[order])


def search(query_codes: np.ndarray, database_codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each query.

    FAISS fills up with row -1 at distance 2147483647 where there are fewer than k rows; here there are fewer columns.

    Args:
      query_codes: packed uint8 ``[Q, B]``, zero beyond the last bit.
      database_codes: packed uint8 ``[N, B]``; may be mapped.
      k: at least 1.

    Returns:
      distances int32 and rows int64, ``[Q, min(k, N)]`` each, ascending by (distance, row).

    Raises:
      UserError: not packed codes, or of different lengths; k below 1.
    """
    _check(query_codes, database_codes)
    if k < 1:
        raise UserError(f"k={k}: must be at least 1")
    k = min(k, len(database_codes))
    if k and (faiss := _faiss(query_codes, database_codes)):
        return faiss.knn_hamming(np.ascontiguousarray(query_codes), np.ascontiguousarray(database_codes), k)
    queries = _words(query_codes).T
    best = [Neighbours(np.empty(0, np.int64), np.empty(0, np.int32))] * len(queries)
    for start in range(0, len(database_codes), _BLOCK_ROWS):
        block = _words(database_codes[start : start + _BLOCK_ROWS])
        for number, query in enumerate(queries):
            best[number] = _closer(best[number], _distances(query, block), start, k)
    shape = (len(queries), k)
    distances, rows = np.empty(shape, np.int32), np.empty(shape, np.int64)
    for number, each in enumerate(best):
        distances[number], rows[number] = each.distances, each.rows
    return distances, rows


def _within_faiss(faiss: Any, query_codes: np.ndarray, database_codes: np.ndarray, radius: int) -> list[Neighbours]:
    index = faiss.IndexBinaryFlat(8 * database_codes.shape[1])
    index.add(np.ascontiguousarray(database_codes))
    # FAISS leaves out what lies on the radius.
    limits, distances, rows = index.range_search(np.ascontiguousarray(query_codes), radius + 1)
    found = []
    for start, end in zip(limits[:-1], limits[1:]):
        order = np.lexsort((rows[start:end], distances[start:end]))
        found.append(Neighbours(rows[start:end][order], distances[start:end][order].astype(np.int32)))
    return found


def within(query_codes: np.ndarray, database_codes: np.ndarray, radius: int) -> list[Neighbours]:
    """All rows within a distance of each query, that distance included.

    Args:
      query_codes: packed uint8 ``[Q, B]``, zero beyond the last bit.
      database_codes: packed uint8 ``[N, B]``; may be mapped.
      radius: at least 0.

    Returns:
      Q Neighbours, each ascending by (distance, row).

    Raises:
      UserError: not packed codes, or of different lengths; a negative radius.
    """
    _check(query_codes, database_codes)
    if radius < 0:
        raise UserError(f"radius={radius}: must be at least 0")
    radius = min(radius, 8 * query_codes.shape[1])
    if faiss := _faiss(query_codes, database_codes):
        return _within_faiss(faiss, query_codes, database_codes, radius)
    queries = _words(query_codes).T
    found: list[list[Neighbours]] = [[] for _ in queries]
    for start in range(0, len(database_codes), _BLOCK_ROWS):
        block = _words(database_codes[start : start + _BLOCK_ROWS])
        for number, query in enumerate(queries):
            distances = _distances(query, block)
            places = np.flatnonzero(distances <= radius)
            found[number].append(Neighbours(start + places, distances[places].astype(np.int32)))
    return [_in_order(parts) for parts in found]


def _in_order(parts: list[Neighbours]) -> Neighbours:
    """Neighbours of ascending blocks of rows as one."""
    rows = np.concatenate([part.rows for part in parts] or [np.empty(0, np.int64)])
    distances = np.concatenate([part.distances for part in parts] or [np.empty(0, np.int32)])
    order = np.argsort(distances, kind="stable")
    return Neighbours(rows[order], distances[order])
