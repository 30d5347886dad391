"""Equal rows counted once: learned codes repeat, and a row may stand for many (host side, NumPy).

On CIFAR-10, 54,000 database codes of 48 bits hold about 22,000 distinct ones. Counting over distinct (code, label)
pairs with weights is exact and proportionally less work.
"""

from typing import Any, NamedTuple

import numpy as np

from drlhash_jax.codes.checks import as_codes, as_labels


class PackedRows(NamedTuple):
    """Codes with their labels, packed for counting; arrays of NumPy or JAX.

    Attributes:
      codes: uint32 ``[N, W]``, bits of a code in the order of `retrieval.pack_words`.
      labels: int32 ``[N]`` class numbers, or uint32 ``[N, W']`` packed multi-hot rows.
      weights: int32 ``[N]``, how many rows each stands for; 0 marks padding.
    """

    codes: Any
    labels: Any
    weights: Any


def _pack_words(bits: np.ndarray) -> np.ndarray:
    """NumPy twin of `retrieval.packing.pack_words`: uint32 ``[N, W]`` for {0, 1} ``[N, K]``."""
    num_rows, num_bits = bits.shape
    padded = np.zeros((num_rows, -(-num_bits // 32) * 32), np.uint8)
    padded[:, :num_bits] = bits
    return np.packbits(padded, axis=1).view(">u4").astype(np.uint32)


def _padded_size(num_rows: int) -> int:
    """Rows rounded up to one of eight sizes between a power of two and the next, so that few shapes are compiled."""
    step = max(1, 1 << max(0, num_rows.bit_length() - 4))
    return -(-num_rows // step) * step


def pack_label_rows(labels: np.ndarray) -> np.ndarray:
    """NumPy twin of `retrieval.packing.pack_labels`, with the values checked.

    Args:
      labels: whole numbers ``[N]``, negative for none, or multi-hot ``[N, C]``.

    Returns:
      int32 ``[N]``, -1 for none, or uint32 ``[N, W]``.

    Raises:
      UserError: not labels, see `as_labels`.
    """
    labels = as_labels(labels)
    return labels if labels.ndim == 1 else _pack_words(labels)


def pack_in_order(codes: np.ndarray, labels: np.ndarray) -> PackedRows:
    """Packs codes and labels row by row, on the host and in less memory than `retrieval.metrics.pack_rows` takes.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]``.
      labels: whole numbers ``[N]``, negative for none, or multi-hot ``[N, C]``.

    Returns:
      PackedRows of N rows, each of weight 1.

    Raises:
      UserError: not codes or not labels, see `as_codes` and `as_labels`.
    """
    return PackedRows(_pack_words(as_codes(codes)), pack_label_rows(labels), np.ones(len(codes), np.int32))


def pack_distinct(codes: np.ndarray, labels: np.ndarray) -> PackedRows:
    """Packs codes and labels, equal rows merged into one with their number as its weight.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]``.
      labels: whole numbers ``[N]``, negative for none, or multi-hot ``[N, C]``.

    Returns:
      PackedRows of at most N rows (plus padding of weight 0), in no particular order.

    Raises:
      UserError: not codes or not labels, see `as_codes` and `as_labels`.
    """
    words = _pack_words(as_codes(codes))
    label_rows = pack_label_rows(labels)
    label_words = label_rows.view(np.uint32)[:, None] if label_rows.ndim == 1 else label_rows
    rows = np.ascontiguousarray(np.concatenate([words, label_words], axis=1))
    # Sorting rows as opaque bytes is several times faster than np.unique(axis=0) on columns.
    _, first, weights = np.unique(rows.view(f"V{rows.itemsize * rows.shape[1]}"), return_index=True, return_counts=True)
    padding = _padded_size(len(first)) - len(first)
    pad = lambda x: np.concatenate([x, np.zeros((padding, *x.shape[1:]), x.dtype)])
    return PackedRows(pad(words[first]), pad(label_rows[first]), pad(weights.astype(np.int32)))
