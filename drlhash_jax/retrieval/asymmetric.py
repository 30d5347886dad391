"""Asymmetric ranking: real-valued query logits against binary database codes, free at query time.

The score of a row with bits b is the inner product of the logits z with its signs, sum of z_k (2 b_k - 1): the Hamming
ranking with each differing bit weighted by how sure the query is of it. Numbers from it are no Hamming-ranking numbers
and are never put in one column with them. Rows of one code tie; equal scores stand in database order.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes.grouping import pack_label_rows
from drlhash_jax.retrieval.average_precision import Cut, check_cut
from drlhash_jax.retrieval.counting import share_label
from drlhash_jax.retrieval.streaming import (
    CHUNK_SIZE,
    OnQueries,
    RankedQueries,
    check_cuts,
    only_cut,
    stream_queries,
)
from drlhash_jax.types import Array


def asymmetric_precisions(
    logits: Array, query_labels: Array, database_codes: Array, database_labels: Array, *, cuts: tuple[Cut, ...]
) -> tuple[Array, Array]:
    """Average precisions of ranking the database by inner product, largest first, one query at a time.

    Args:
      logits: float32 ``[Q, K]``; a positive one stands for bit 1.
      query_labels: packed labels of `pack_labels`, int32 ``[Q]`` or uint32 ``[Q, W]``.
      database_codes: {0, 1} array ``[N, K]``.
      database_labels: packed labels, int32 ``[N]`` or uint32 ``[N, W]``.
      cuts: definitions that share the sort, C of them.

    Returns:
      Average precisions float32 ``[Q, C]``, 0 where no row is relevant, and relevant rows int32 ``[Q]``.
    """
    chex.assert_rank([logits, database_codes], [2, 2])
    for cut in cuts:
        check_cut(*cut)
    signs = 2.0 * database_codes.astype(jnp.float32) - 1.0
    last_ranks = [len(signs) if cut.top_k is None else min(cut.top_k, len(signs)) for cut in cuts]
    ranks = jnp.arange(1, max(last_ranks) + 1)

    def one(row: tuple[Array, Array]) -> tuple[Array, Array]:
        z, label = row
        scores = jnp.matmul(signs, z, precision=jax.lax.Precision.HIGHEST)
        # Sorting keeps -0 below 0, which are equal scores.
        scores = jnp.where(scores == 0, 0.0, scores)
        relevant = share_label(label, database_labels).astype(jnp.int32)
        # Equal scores come out in row order; on a CPU this takes half the time of a stable sort even for all ranks.
        ordered = relevant[jax.lax.top_k(scores, len(ranks))[1]]
        hits = jnp.cumsum(ordered)
        number = jnp.sum(relevant)

        def precision(cut: Cut, last: int) -> Array:
            divisor = {"min": jnp.minimum(number, last), "all": number, "retrieved": hits[last - 1]}[cut.denominator]
            return jnp.sum((ordered * (hits / ranks))[:last]) / jnp.maximum(divisor, 1)

        return jnp.stack([precision(*each) for each in zip(cuts, last_ranks, strict=True)]), number

    return jax.lax.map(one, (logits, query_labels))


def asymmetric_average_precision(
    logits: Array,
    query_labels: Array,
    database_codes: Array,
    database_labels: Array,
    *,
    top_k: int | None = None,
    denominator: str = "min",
) -> tuple[Array, Array]:
    """Average precision float32 ``[Q]`` under one cut, and relevant rows; see `asymmetric_precisions`."""
    cuts = (Cut(top_k, denominator),)
    values, number = asymmetric_precisions(logits, query_labels, database_codes, database_labels, cuts=cuts)
    return values[:, 0], number


def _rank_asymmetrically(logits, query_labels, database_codes, database_labels, *, axis_name, cuts):
    logits, query_labels = parallel.local_rows((logits, query_labels), axis_name)
    ranked = asymmetric_precisions(logits, query_labels, database_codes, database_labels, cuts=cuts)
    return parallel.gather_rows(RankedQueries(*ranked), axis_name)


def asymmetric_queries(
    query_logits: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
    denominator: str = "min",
    cuts: tuple[Cut, ...] | None = None,
    chunk_size: int = CHUNK_SIZE,
    devices: parallel.Devices | None = None,
    on_queries: OnQueries | None = None,
) -> RankedQueries:
    """Average precision of every query in the asymmetric ranking; see `streaming.mean_over_counted` for the mean.

    Args:
      query_logits: float ``[Q, K]``, finite; a positive one stands for bit 1.
      database_codes: {0, 1} array ``[N, K]``.
      query_labels: integer ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: integer ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.
      denominator: "min", "all" or "retrieved", see `average_precision`.
      cuts: several of these at once, from one sort; average precisions are ``[Q, C]`` then.
      chunk_size: queries evaluated between two calls of `on_queries`.
      devices: that share the queries; None for the default device.
      on_queries: called with the queries done so far and Q after each chunk.

    Returns:
      RankedQueries of NumPy arrays.

    Raises:
      ValueError: logits that are not finite, or input as in `check_evaluation`.
    """
    query_logits, database_codes = np.asarray(query_logits), np.asarray(database_codes)
    query_labels, database_labels = np.asarray(query_labels), np.asarray(database_labels)
    if query_logits.dtype.kind not in "iuf" or not np.isfinite(query_logits).all():
        raise ValueError("query logits must be finite numbers")
    arrays = query_logits > 0, database_codes, query_labels, database_labels
    wanted = check_cuts(arrays, top_k, denominator, cuts)
    step = parallel.wrap_step(_rank_asymmetrically, devices, cuts=wanted)
    database = database_codes.astype(np.uint8), pack_label_rows(database_labels)
    database = parallel.replicate(database, devices)
    queries = query_logits.astype(np.float32), pack_label_rows(query_labels)
    loop = {"chunk_size": chunk_size, "devices": devices, "on_queries": on_queries}
    ranked = stream_queries(lambda chunk: step(*chunk, *database), queries, **loop)
    return only_cut(ranked) if cuts is None else ranked
