"""Diagnostics of finished codes: wasted bits, repeated bits, crowded buckets (host side, NumPy, exact counts)."""

from typing import NamedTuple

import numpy as np

from drlhash_jax.codes.checks import as_codes, as_labels
from drlhash_jax.codes.grouping import pack_in_order
from drlhash_jax.errors import UserError

# Rows of a bucket that are compared with all others at a time.
_BLOCK_ROWS = 1024


class Occupancy(NamedTuple):
    """How rows spread over buckets, a bucket being all rows of one code.

    Attributes:
      num_rows: N.
      num_codes: distinct codes, i.e. buckets that are not empty.
      sizes: int64 ``[S]``, the bucket sizes that occur, ascending.
      buckets: int64 ``[S]``, buckets of each of these sizes.
      largest: rows in the fullest bucket.
      alone: rows whose code no other row has.
      mean: rows in a bucket on average.
      entropy: bits of information in the code of a random row, log2 N at most.
    """

    num_rows: int
    num_codes: int
    sizes: np.ndarray
    buckets: np.ndarray
    largest: int
    alone: int
    mean: float
    entropy: float


class Collisions(NamedTuple):
    """Unordered pairs of different rows with equal codes.

    Attributes:
      pairs: all of them.
      sharing: those whose rows share a label.
      not_sharing: the others: a search cannot tell them apart, though it should. Rows without labels share nothing.
    """

    pairs: int
    sharing: int
    not_sharing: int

    @property
    def sharing_rate(self) -> float:
        """Share of the colliding pairs that share a label; NaN without collisions."""
        return self.sharing / self.pairs if self.pairs else float("nan")


def bit_balance(codes: np.ndarray) -> np.ndarray:
    """Share of ones of each bit: float64 ``[K]`` for codes ``[N, K]``; 1/2 is balanced, 0 and 1 are constant bits."""
    codes = as_codes(codes)
    return np.count_nonzero(codes, axis=0) / len(codes)


def bit_entropy(codes: np.ndarray) -> np.ndarray:
    """Entropy -p log2 p - (1-p) log2 (1-p) of each bit: float64 ``[K]`` in [0, 1] for codes ``[N, K]``."""
    p = bit_balance(codes)
    terms = [np.where(x > 0, -x * np.log2(np.where(x > 0, x, 1.0)), 0.0) for x in (p, 1 - p)]
    return terms[0] + terms[1]


def bit_correlation(codes: np.ndarray) -> np.ndarray:
    """Phi coefficient, the correlation of two binary variables, of every pair of bits.

    phi = (N n11 - n1 n1') / sqrt(n1 (N - n1) n1' (N - n1')) with n1 ones in a bit and n11 rows with ones in both.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]``.

    Returns:
      float64 ``[K, K]`` in [-1, 1]. Rows and columns of constant bits are NaN, the diagonal included: 0 would say that
      a bit which carries nothing is independent of the others, and would flatter a mean over pairs.
    """
    codes = as_codes(codes)
    num_rows, num_bits = codes.shape
    both = np.zeros((num_bits, num_bits), np.int64)
    # Counts up to 2^24 are exact in float32, whose matrix product is fast.
    for start in range(0, num_rows, 1 << 16):
        block = codes[start : start + (1 << 16)].astype(np.float32)
        both += (block.T @ block).astype(np.int64)
    ones = np.diagonal(both)
    variance = (ones * (num_rows - ones)).astype(np.float64)
    covariance = (num_rows * both - np.outer(ones, ones)).astype(np.float64)
    # One root of the product: equal bits get exactly 1.
    scale = np.sqrt(np.outer(variance, variance))
    return np.divide(covariance, scale, out=np.full(both.shape, np.nan), where=scale > 0)


def _groups(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First row, group of each row, and size of each group of equal rows, for words uint32 ``[N, W]``."""
    rows = np.ascontiguousarray(rows)
    as_bytes = rows.view(f"V{rows.itemsize * rows.shape[1]}").ravel()
    _, first, group, size = np.unique(as_bytes, return_index=True, return_inverse=True, return_counts=True)
    return first, group.ravel(), size


def occupancy(codes: np.ndarray) -> Occupancy:
    """Number of distinct codes and how many rows stand on each, for codes {0, 1} ``[N, K]``."""
    codes = as_codes(codes)
    _, _, size = _groups(pack_in_order(codes, np.zeros(len(codes), np.int64)).codes)
    sizes, buckets = np.unique(size, return_counts=True)
    p = size / len(codes)
    return Occupancy(
        num_rows=len(codes),
        num_codes=len(size),
        sizes=sizes,
        buckets=buckets,
        largest=int(size.max()),
        alone=int(np.sum(size == 1)),
        mean=len(codes) / len(size),
        entropy=float(-np.sum(p * np.log2(p))),
    )


def _sharing_pairs(labels: np.ndarray, weights: np.ndarray) -> int:
    """Unordered pairs that share a label, for distinct label rows ``[M, C]`` that stand for `weights` rows each."""
    own = weights[labels.any(axis=1)]
    total = int(np.sum(own * (own - 1)) // 2)
    as_float = labels.astype(np.float32)
    for start in range(0, len(labels), _BLOCK_ROWS):
        share = as_float[start : start + _BLOCK_ROWS] @ as_float[start + 1 :].T > 0
        # Row start + i is paired with the rows after it, which begin at column i.
        total += int(weights[start : start + _BLOCK_ROWS] @ (np.triu(share) @ weights[start + 1 :]))
    return total


def collisions(codes: np.ndarray, labels: np.ndarray) -> Collisions:
    """Counts pairs of rows with equal codes, within and across classes; exact integers.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]``.
      labels: whole numbers ``[N]`` or multi-hot ``[N, C]``; negative or all-zero rows share nothing.

    Returns:
      Collisions.

    Raises:
      UserError: codes or labels that are not as said, or of different lengths.
    """
    codes, labels = as_codes(codes), as_labels(labels)
    if len(codes) != len(labels):
        raise UserError(f"{len(codes)} rows of codes but {len(labels)} rows of labels")
    packed = pack_in_order(codes, labels)
    first, bucket, size = _groups(packed.codes)
    pairs = int(np.sum(size * (size - 1)) // 2)
    label_words = packed.labels.view(np.uint32).reshape(len(codes), -1)
    # Equal codes with equal labels are one row with a weight, in the order of the buckets.
    row, _, weights = _groups(np.concatenate([bucket.astype(np.uint32)[:, None], label_words], axis=1))
    if labels.ndim == 1:
        weights = weights[labels[row] >= 0]
        sharing = int(np.sum(weights * (weights - 1)) // 2)
    else:
        order = np.argsort(bucket[row], kind="stable")
        starts = np.cumsum(np.bincount(bucket[row], minlength=len(first)))[:-1]
        parts = np.split(row[order], starts), np.split(weights[order], starts)
        crowded = [(rows, w) for rows, w in zip(*parts, strict=True) if w.sum() > 1]
        sharing = sum(_sharing_pairs(labels[rows] != 0, w) for rows, w in crowded)
    return Collisions(pairs, sharing, pairs - sharing)
