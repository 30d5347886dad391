"""Ranking by real-valued scores, largest first, exact over ties: what codes are compared with.

Rows of equal score form a block whose inner order is arbitrary, as rows at one Hamming distance do; a product
quantiser of two bytes gives many rows one score, and their order in the database must not count.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.codes import as_label_pair, check_rank, pack_label_rows
from drlhash_jax.retrieval.average_precision import average_precision
from drlhash_jax.retrieval.counting import share_label
from drlhash_jax.retrieval.streaming import RankedQueries
from drlhash_jax.types import Array, DistanceCounts


def _blocks(scores: Array, relevant: Array) -> DistanceCounts:
    """Rows and relevant rows of each distinct score, largest first: int32 ``[N]`` each, filled up with zeros.

    Args:
      scores: float32 ``[N]``.
      relevant: int32 ``[N]`` of {0, 1}.
    """
    ordered, hits = jax.lax.sort((-scores, relevant), num_keys=1)
    begins = jnp.concatenate([jnp.zeros(1, jnp.int32), (ordered[1:] != ordered[:-1]).astype(jnp.int32)])
    add = functools.partial(
        jax.ops.segment_sum, segment_ids=jnp.cumsum(begins), num_segments=len(scores), indices_are_sorted=True
    )
    return DistanceCounts(add(jnp.ones_like(hits)), add(hits))


@functools.partial(jax.jit, static_argnames="top_k")
def score_precisions(
    scores: Array, query_labels: Array, database_labels: Array, *, top_k: int | None = None
) -> RankedQueries:
    """Average precision of each query, expected over random orders of equal scores.

    Args:
      scores: float32 ``[Q, N]``, larger for rows that come earlier.
      query_labels: packed labels of `pack_label_rows`, int32 ``[Q]`` or uint32 ``[Q, W]``.
      database_labels: packed labels, int32 ``[N]`` or uint32 ``[N, W]``.
      top_k: ranks that count; None for all.

    Returns:
      RankedQueries.
    """

    def one(row: tuple[Array, Array]) -> RankedQueries:
        counts = _blocks(row[0], share_label(row[1], database_labels).astype(jnp.int32))
        return RankedQueries(average_precision(counts, top_k=top_k), jnp.sum(counts.relevant))

    return jax.lax.map(one, (scores, query_labels))


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
      score_rows: (first query, query to stop before) -> scores float32 ``[q, N]`` of these queries, finite.
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
    labels = as_label_pair(query_labels, database_labels)
    num_queries, num_rows = map(len, labels)
    if top_k is not None:
        check_rank("top_k", top_k, num_rows)
    query_labels, database_labels = map(pack_label_rows, labels)
    parts = []
    for start in range(0, num_queries, chunk_size):
        stop = min(start + chunk_size, num_queries)
        scores = np.asarray(score_rows(start, stop), np.float32)
        if scores.shape != (stop - start, num_rows) or not np.isfinite(scores).all():
            raise ValueError(f"scores of queries {start} to {stop}: must be finite and [{stop - start}, {num_rows}]")
        # One shape for every chunk, so that one program serves all.
        fill = min(chunk_size, num_queries) - len(scores)
        padded = [np.pad(each, [(0, fill)] + [(0, 0)] * (each.ndim - 1)) for each in (scores, query_labels[start:stop])]
        found = score_precisions(*padded, database_labels, top_k=top_k)
        parts.append([np.asarray(values)[: stop - start] for values in found])
    return RankedQueries(*(np.concatenate(values) for values in zip(*parts, strict=True)))
