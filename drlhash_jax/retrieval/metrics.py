"""The retrieval metrics as functions of codes and labels; all work under `jit` and `vmap`.

Queries without any relevant database row are left out of every mean. Codes are {0, 1} or {-1, 1}, labels class numbers
or multi-hot; outside of `jit` and `vmap` everything else is refused, inside them values cannot be checked.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes import PackedRows
from drlhash_jax.retrieval.arguments import accept
from drlhash_jax.retrieval.average_precision import TIES as BLOCK_TIES
from drlhash_jax.retrieval.average_precision import average_precision, has_relevant, mean_over_queries
from drlhash_jax.retrieval.counting import count_by_distance
from drlhash_jax.retrieval.curves import precision_at, precision_at_recall, radius_curve, recall_at
from drlhash_jax.retrieval.gains import count_gains, discount_sums, ndcg_at
from drlhash_jax.retrieval.packing import pack_labels, pack_words
from drlhash_jax.retrieval.stable_order import stable_average_precision
from drlhash_jax.types import Array, DistanceCounts

TIES = (*BLOCK_TIES, "stable")


class RetrievalMetrics(NamedTuple):
    """Means over the queries that have at least one relevant row; scalars, float32 unless said.

    Attributes:
      map: mean average precision, expected over random tie order.
      map_pessimistic: the same with every tie broken against the query.
      map_optimistic: the same with every tie broken for the query.
      precision_radius2: precision within Hamming distance 2, an empty ball counting 0.
      empty_balls: share of queries without any row within distance 2.
      num_queries: int32, the queries that count.
      num_without_relevant: int32, the queries left out because nothing is relevant to them.
    """

    map: Array
    map_pessimistic: Array
    map_optimistic: Array
    precision_radius2: Array
    empty_balls: Array
    num_queries: Array
    num_without_relevant: Array


def pack_rows(codes: Array, labels: Array, weights: Array | None = None) -> PackedRows:
    """Packs codes and labels for counting.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]``, whose values are not checked.
      labels: integer ``[N]`` or multi-hot ``[N, C]``, whose values are not checked.
      weights: int32 ``[N]``, 0 marking padding; None for all ones.

    Returns:
      PackedRows of N rows.
    """
    if weights is None:
        weights = jnp.ones(codes.shape[0], jnp.int32)
    return PackedRows(pack_words(codes > 0), pack_labels(labels), weights)


def _pack_pair(query_codes, database_codes, query_labels, database_labels) -> tuple[PackedRows, PackedRows]:
    given = accept(query_codes, database_codes, query_labels, database_labels)
    return pack_rows(given.query_codes, given.query_labels), pack_rows(given.database_codes, given.database_labels)


def _count(query_codes, database_codes, query_labels, database_labels) -> tuple[DistanceCounts, Array]:
    query, database = _pack_pair(query_codes, database_codes, query_labels, database_labels)
    return count_by_distance(query, database, max_distance=np.shape(query_codes)[1]), query.weights


def mean_average_precision(
    query_codes: Array,
    database_codes: Array,
    query_labels: Array,
    database_labels: Array,
    *,
    top_k: int | None = None,
    ties: str = "expected",
    denominator: str = "min",
    axis_name: str | None = None,
) -> Array:
    """Mean average precision of ranking the database by Hamming distance from each query (thesis 4.1).

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count (mAP@R); None for all.
      ties: "expected" is the exact mean over random orders of equal distances, "optimistic" and "pessimistic" its
        bounds, "stable" takes equal distances in database order.
      denominator: "min" divides by min(relevant, top_k), "all" by the number of relevant rows, "retrieved" by the
        number of relevant rows among the first top_k.
      axis_name: axis of the devices that share the queries; None for one device.

    Returns:
      float32 scalar; NaN when no query has a relevant row.

    Raises:
      ValueError: an unknown option, shapes that do not fit, or values that are neither codes nor labels.
    """
    if ties not in TIES:
        raise ValueError(f"ties={ties!r}: choose one of {', '.join(TIES)}")
    query, database = _pack_pair(query_codes, database_codes, query_labels, database_labels)
    query = share_of_queries(query, axis_name)
    num_bits = np.shape(query_codes)[1]
    counts = count_by_distance(query, database, max_distance=num_bits)
    if ties == "stable":
        values = stable_average_precision(query, database, max_distance=num_bits, top_k=top_k, denominator=denominator)
    else:
        values = average_precision(counts, top_k=top_k, ties=ties, denominator=denominator)
    return mean_over_queries(values, counts, query.weights, axis_name)


def precision_at_n(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array, ranks: Array
) -> Array:
    """Mean expected precision among the first n rows (P@N): float32 ``[M]`` for ranks int32 ``[M]``, each at least 1.

    The other arguments, and the errors, are those of `mean_average_precision`.
    """
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    return _mean_columns(precision_at(counts, jnp.asarray(ranks)), counts, weights)


def recall_at_n(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array, ranks: Array
) -> Array:
    """Mean expected share of the relevant rows among the first n (recall@N); the rest is as in `precision_at_n`."""
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    return _mean_columns(recall_at(counts, jnp.asarray(ranks)), counts, weights)


def precision_recall_by_rank(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array, ranks: Array
) -> tuple[Array, Array]:
    """The precision-recall curve along a grid of ranks: mean precision and mean recall among the first n rows.

    The arguments, and the errors, are those of `precision_at_n`.

    Returns:
      precision float32 ``[M]`` and recall float32 ``[M]``.
    """
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    ranks = jnp.asarray(ranks)
    mean = lambda values: _mean_columns(values, counts, weights)
    return mean(precision_at(counts, ranks)), mean(recall_at(counts, ranks))


def precision_at_recall_levels(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array, levels: Array
) -> Array:
    """The precision-recall curve along a grid of recalls: mean precision where each query's recall reaches the level.

    See `curves.precision_at_recall` for ties. The other arguments, and the errors, are those of
    `mean_average_precision`.

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      levels: float32 ``[L]``, each in (0, 1].

    Returns:
      float32 ``[L]``.
    """
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    return _mean_columns(precision_at_recall(counts, jnp.asarray(levels)), counts, weights)


def ndcg_at_n(
    query_codes: Array,
    database_codes: Array,
    query_labels: Array,
    database_labels: Array,
    ranks: Array,
    *,
    max_shared: int | None = None,
) -> Array:
    """Mean expected NDCG among the first n rows, the gain of a row being its number of shared labels (see `gains`).

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      ranks: int32 ``[M]``, each at least 1.
      max_shared: labels that a query can share at most; None for C, which costs more memory. 1 for integer labels.

    Returns:
      float32 ``[M]``; NaN when no query has a relevant row.
    """
    query, database = _pack_pair(query_codes, database_codes, query_labels, database_labels)
    if np.ndim(query_labels) == 1:
        max_shared = 1
    elif max_shared is None:
        max_shared = np.shape(query_labels)[1]
    gains = count_gains(query, database, max_distance=np.shape(query_codes)[1], max_shared=max_shared)
    values = ndcg_at(gains, jnp.asarray(ranks), jnp.asarray(discount_sums(np.shape(database_codes)[0])))
    return _mean_columns(values, gains.counts, query.weights)


def precision_by_radius(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array
) -> tuple[Array, Array]:
    """P@H<=r for every radius r = 0 .. K: mean precision, an empty ball counting 0, and the share of empty balls.

    The arguments, and the errors, are those of `mean_average_precision`.

    Returns:
      precision float32 ``[K + 1]`` and share of empty balls float32 ``[K + 1]``.
    """
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    curve = radius_curve(counts)
    return _mean_columns(curve.precision, counts, weights), _mean_columns(curve.empty, counts, weights)


def precision_recall_curve(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array
) -> tuple[Array, Array]:
    """Mean precision and recall within Hamming radius 0 .. K, an empty ball having precision 0.

    The arguments, and the errors, are those of `mean_average_precision`.

    Returns:
      precision float32 ``[K + 1]`` and recall float32 ``[K + 1]``.
    """
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    curve = radius_curve(counts)
    return _mean_columns(curve.precision, counts, weights), _mean_columns(curve.recall, counts, weights)


def precision_within_radius(
    query_codes: Array, database_codes: Array, query_labels: Array, database_labels: Array, radius: int = 2
) -> tuple[Array, Array]:
    """Mean precision within a Hamming radius (P@H<=r), and the share of queries whose ball is empty.

    An empty ball counts as precision 0. The arguments, and the errors, are those of `mean_average_precision`.

    Returns:
      precision and share of empty balls, float32 scalars.
    """
    if radius < 0:
        raise ValueError(f"radius={radius}: must not be negative")
    counts, weights = _count(query_codes, database_codes, query_labels, database_labels)
    curve = radius_curve(counts)
    radius = min(radius, curve.precision.shape[-1] - 1)
    mean = lambda values: mean_over_queries(values, counts, weights)
    return mean(curve.precision[:, radius]), mean(curve.empty[:, radius])


def share_of_queries(query: PackedRows, axis_name: str | None) -> PackedRows:
    """This device's share of packed queries, which are first filled up with rows of weight 0."""
    return parallel.local_rows(parallel.pad_rows(query, parallel.num_shards(axis_name)), axis_name)


def _mean_columns(values: Array, counts: DistanceCounts, weights: Array) -> Array:
    return jax.vmap(mean_over_queries, in_axes=(1, None, None))(values, counts, weights)


def retrieval_metrics(
    query: PackedRows,
    database: PackedRows,
    *,
    max_distance: int,
    top_k: int | None = None,
    axis_name: str | None = None,
) -> RetrievalMetrics:
    """Every number of a result row from one pass over the database.

    Args:
      query: packed queries; a weight says how many queries a row stands for, 0 marks padding.
      database: packed database, with weights in the same sense.
      max_distance: number of bits of a code.
      top_k: ranks that count for the average precisions; None for all.
      axis_name: axis of the devices that share the queries; None for one device.

    Returns:
      RetrievalMetrics.
    """
    query = share_of_queries(query, axis_name)
    counts = count_by_distance(query, database, max_distance=max_distance)
    mean = lambda values: mean_over_queries(values, counts, query.weights, axis_name)
    curve = radius_curve(counts)
    radius = min(2, max_distance)
    counted = has_relevant(counts)
    return RetrievalMetrics(
        map=mean(average_precision(counts, top_k=top_k)),
        map_pessimistic=mean(average_precision(counts, top_k=top_k, ties="pessimistic")),
        map_optimistic=mean(average_precision(counts, top_k=top_k, ties="optimistic")),
        precision_radius2=mean(curve.precision[:, radius]),
        empty_balls=mean(curve.empty[:, radius]),
        num_queries=parallel.total(jnp.sum(jnp.where(counted, query.weights, 0)), axis_name),
        num_without_relevant=parallel.total(jnp.sum(jnp.where(counted, 0, query.weights)), axis_name),
    )
