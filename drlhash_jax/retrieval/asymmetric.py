"""Asymmetric ranking: real-valued query logits against binary database codes, free at query time.

The score of a row with bits b is the inner product of the logits z with its signs, sum of z_k (2 b_k - 1): the Hamming
ranking with each differing bit weighted by how sure the query is of it. Numbers from it are no Hamming-ranking numbers
and are never put in one column with them. Rows of one code have one score; equal scores stand in database order.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes import as_finite, pack_label_rows
from drlhash_jax.retrieval.arguments import accept
from drlhash_jax.retrieval.average_precision import Cut, check_cut
from drlhash_jax.retrieval.counting import share_label
from drlhash_jax.retrieval.streaming import (
    CHUNK_SIZE,
    OnQueries,
    RankedQueries,
    only_cut,
    stream_queries,
    wanted_cuts,
)
from drlhash_jax.types import Array


def _scores(logits: Array, bits: Array) -> Array:
    """Inner products of logits float32 ``[K]`` with the signs of bits bool ``[K, N]``: float32 ``[N]``.

    Added bit by bit, in one order for every row. A matrix product takes some rows in another order than others, and
    gives equal codes scores that differ in the last digit.
    """
    add = lambda total, bit: (total + jnp.where(bit[0], bit[1], -bit[1]), None)
    # From 0 no sum is -0, which sorting would put below 0. Made from the logits, so that it counts as different on each
    # device as they do.
    start = jnp.zeros(bits.shape[1]) + 0.0 * logits[0]
    return jax.lax.scan(add, start, (bits, logits))[0]


def asymmetric_precisions(
    logits: Array, query_labels: Array, database_codes: Array, database_labels: Array, *, cuts: tuple[Cut, ...]
) -> tuple[Array, Array]:
    """Average precisions of ranking the database by inner product, largest first, one query at a time.

    Args:
      logits: float32 ``[Q, K]``; a positive one stands for bit 1.
      query_labels: packed labels of `pack_labels`, int32 ``[Q]`` or uint32 ``[Q, W]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      database_labels: packed labels, int32 ``[N]`` or uint32 ``[N, W]``.
      cuts: definitions that share the sort, C of them.

    Returns:
      Average precisions float32 ``[Q, C]``, 0 where no row is relevant, and relevant rows int32 ``[Q]``.
    """
    chex.assert_rank([logits, database_codes], [2, 2])
    for cut in cuts:
        check_cut(*cut)
    num_rows, bits = database_codes.shape[0], database_codes.T > 0
    last_ranks = [num_rows if cut.top_k is None else min(cut.top_k, num_rows) for cut in cuts]
    ranks = jnp.arange(1, max(last_ranks) + 1)

    def one(row: tuple[Array, Array]) -> tuple[Array, Array]:
        z, label = row
        relevant = share_label(label, database_labels).astype(jnp.int32)
        # Equal scores come out in row order; on a CPU this takes half the time of a stable sort even for all ranks.
        ordered = relevant[jax.lax.top_k(_scores(z, bits), len(ranks))[1]]
        hits = jnp.cumsum(ordered)
        number = jnp.sum(relevant)

        def precision(cut: Cut, last: int) -> Array:
            divisor = {"min": jnp.minimum(number, last), "all": number, "retrieved": hits[last - 1]}[cut.denominator]
            return jnp.sum((ordered * (hits / ranks))[:last]) / jnp.maximum(divisor, 1)

        return jnp.stack([precision(*each) for each in zip(cuts, last_ranks, strict=True)]), number

    return jax.lax.map(one, (logits, query_labels))


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
      query_logits: float ``[Q, K]``, finite in float32; a positive one stands for bit 1.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.
      denominator: "min", "all" or "retrieved", see `average_precision`.
      cuts: several of these at once, from one sort; average precisions are ``[Q, C]`` then.
      chunk_size: queries evaluated between two calls of `on_queries`.
      devices: that share the queries; None for the default device.
      on_queries: called with the queries done so far and Q after each chunk.

    Returns:
      RankedQueries of NumPy arrays.

    Raises:
      ValueError: logits that are not finite, arrays that `accept` refuses, or an option out of range.
    """
    logits = as_finite(query_logits, "query logits")
    given = accept(logits > 0, database_codes, query_labels, database_labels)
    wanted = wanted_cuts(top_k, denominator, cuts, len(given.database_codes))
    step = parallel.wrap_step(_rank_asymmetrically, devices, cuts=wanted)
    database = parallel.replicate((given.database_codes, pack_label_rows(given.database_labels)), devices)
    queries = logits, pack_label_rows(given.query_labels)
    loop = {"chunk_size": chunk_size, "devices": devices, "on_queries": on_queries}
    ranked = stream_queries(lambda chunk: step(*chunk, *database), queries, **loop)
    return only_cut(ranked) if cuts is None else ranked
