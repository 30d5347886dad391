"""Ranking by real-valued scores, largest first, exact over ties: what codes are compared with.

Rows of equal score form a block whose inner order is arbitrary, as rows at one Hamming distance do; a product
quantiser of two bytes gives many rows one score, and their order in the database must not count. In NumPy: it sorts
a row of floats an order of magnitude faster than XLA does on a CPU, and needs float64 for nothing but sums.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from drlhash_jax.codes import as_label_pair, check_rank
from drlhash_jax.retrieval.streaming import RankedQueries


def score_precision(scores: np.ndarray, relevant: np.ndarray, harmonic: np.ndarray, top_k: int | None) -> float:
    """Average precision of one query, expected over random orders of equal scores (see `average_precision`).

    Args:
      scores: float ``[N]``, larger for rows that come earlier.
      relevant: bool ``[N]``.
      harmonic: float64 ``[N + 1]``, sums of the first 1 / k.
      top_k: ranks that count, at most N; None for all.

    Returns:
      0 where no row is relevant.
    """
    values, r = np.unique(scores[relevant], return_counts=True)
    if not len(values):
        return 0.0
    ordered = np.sort(scores)
    first, last = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    # Largest first: c rows share a score, C rows and R relevant ones have a larger one.
    c, C = last - first, len(scores) - last
    R = r.sum() - np.cumsum(r)
    T = c if top_k is None else np.clip(top_k - C, 0, c)
    s1 = harmonic[C + T] - harmonic[C]
    s2 = T - (C + 1) * s1
    sums = r / c * ((R + 1) * s1 + (r - 1) / np.maximum(c - 1, 1) * s2)
    return float(sums.sum() / (r.sum() if top_k is None else min(r.sum(), top_k)))


def _relevance(query_labels: np.ndarray, database_labels: np.ndarray) -> np.ndarray:
    """Whether rows share a label: bool ``[q, N]``."""
    if query_labels.ndim == 1:
        return (query_labels[:, None] == database_labels[None, :]) & (query_labels >= 0)[:, None]
    return query_labels.astype(np.float32) @ database_labels.T.astype(np.float32) > 0


def score_queries(
    score_rows: Callable[[int, int], np.ndarray],
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
    chunk_size: int = 64,
) -> RankedQueries:
    """Average precision of every query in a ranking by scores; see `streaming.mean_over_counted` for the mean.

    Args:
      score_rows: (first query, query to stop before) -> scores float ``[q, N]`` of these queries, finite.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.
      chunk_size: queries whose scores are in memory at a time.

    Returns:
      RankedQueries of NumPy arrays.

    Raises:
      ValueError: scores that are not finite, or not N of them.
      UserError: labels that `as_label_pair` refuses.
    """
    query_labels, database_labels = as_label_pair(query_labels, database_labels)
    num_queries, num_rows = len(query_labels), len(database_labels)
    if top_k is not None:
        check_rank("top_k", top_k, num_rows)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, num_rows + 1))])
    found, counts = [], []
    with ThreadPoolExecutor() as pool:
        for start in range(0, num_queries, chunk_size):
            stop = min(start + chunk_size, num_queries)
            scores = np.asarray(score_rows(start, stop))
            if scores.shape != (stop - start, num_rows) or not np.isfinite(scores).all():
                raise ValueError(
                    f"scores of queries {start} to {stop}: must be finite and [{stop - start}, {num_rows}]"
                )
            relevant = _relevance(query_labels[start:stop], database_labels)
            one = lambda row, scores=scores, relevant=relevant: score_precision(
                scores[row], relevant[row], harmonic, top_k
            )
            found += pool.map(one, range(stop - start))
            counts.append(relevant.sum(axis=1))
    return RankedQueries(np.array(found, np.float32), np.concatenate(counts).astype(np.int32))
