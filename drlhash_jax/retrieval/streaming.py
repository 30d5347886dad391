"""Evaluation query by query, in chunks of fixed size: constant memory, progress, and values to resample.

The database is packed once and stays on the devices; the queries walk past it. Every chunk has the same shape, the
last one filled up, so a step compiles once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes import PackedRows, check_rank, pack_distinct, pack_in_order
from drlhash_jax.retrieval.arguments import accept
from drlhash_jax.retrieval.average_precision import Cut, average_precision, check_cut
from drlhash_jax.retrieval.counting import count_relevant
from drlhash_jax.retrieval.curves import precision_at, precision_at_recall, radius_curve, recall_at
from drlhash_jax.retrieval.gains import count_gains, discount_sums, ndcg_at
from drlhash_jax.retrieval.stable_order import stable_precisions
from drlhash_jax.types import Array

CHUNK_SIZE = 256
RANKS = (1, 10, 100, 1000)
RECALL_LEVELS = tuple(level / 10 for level in range(1, 11))

OnQueries = Callable[[int, int], None]


class QueryMetrics(NamedTuple):
    """Every metric of each query, expected over random orders of ties where nothing else is said.

    Attributes:
      average_precision: float32 ``[Q]``, or ``[Q, C]`` of C cuts.
      average_precision_pessimistic: the same with ties against the query.
      average_precision_optimistic: the same with ties for the query.
      precision: float32 ``[Q, M]``, P@N at the ranks asked for.
      recall: float32 ``[Q, M]``, recall@N.
      ndcg: float32 ``[Q, M]``, NDCG@N, the gain of a row being its number of shared labels.
      precision_at_recall: float32 ``[Q, L]``, at the recall levels asked for.
      radius_precision: float32 ``[Q, K + 1]``, P@H<=r, an empty ball counting 0.
      radius_recall: float32 ``[Q, K + 1]``.
      radius_empty: bool ``[Q, K + 1]``.
      relevant: int32 ``[Q]``, relevant rows of the database.
    """

    average_precision: np.ndarray
    average_precision_pessimistic: np.ndarray
    average_precision_optimistic: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    ndcg: np.ndarray
    precision_at_recall: np.ndarray
    radius_precision: np.ndarray
    radius_recall: np.ndarray
    radius_empty: np.ndarray
    relevant: np.ndarray


class RankedQueries(NamedTuple):
    """Average precision of each query in one definite order of the database.

    Attributes:
      average_precision: float32 ``[Q]``, or ``[Q, C]`` of C cuts.
      relevant: int32 ``[Q]``, relevant rows of the database.
    """

    average_precision: np.ndarray
    relevant: np.ndarray


PerQuery = TypeVar("PerQuery", QueryMetrics, RankedQueries)


class Means(NamedTuple):
    """Means over the queries that have a relevant row.

    Attributes:
      means: the fields of what was averaged, float64, without the axis of the queries.
      num_queries: queries that count.
      num_without_relevant: queries left out.
    """

    means: Any
    num_queries: int
    num_without_relevant: int


def mean_over_counted(per_query: PerQuery) -> Means:
    """Means over the queries with at least one relevant row; NaN where there is none."""
    counted = per_query.relevant > 0
    if not counted.any():
        means = [np.full(values.shape[1:], np.nan) for values in per_query]
    else:
        means = [np.mean(values[counted], axis=0, dtype=np.float64) for values in per_query]
    return Means(type(per_query)(*means), int(counted.sum()), int((~counted).sum()))


def wanted_cuts(top_k: int | None, denominator: str, cuts: tuple[Cut, ...] | None, num_rows: int) -> tuple[Cut, ...]:
    """The cuts that are asked for, one or several.

    Raises:
      ValueError: a cut that is unknown or that a database of `num_rows` rows does not reach.
    """
    wanted = (Cut(top_k, denominator),) if cuts is None else tuple(cuts)
    for cut in wanted:
        check_cut(*cut)
        if cut.top_k is not None:
            check_rank("top_k", cut.top_k, num_rows)
    return wanted


def only_cut(per_query: PerQuery) -> PerQuery:
    """The same with the axis of a single cut taken away."""
    names = [name for name in per_query._fields if name.startswith("average_precision")]
    return per_query._replace(**{name: getattr(per_query, name)[:, 0] for name in names})


def stream_queries(
    step: Callable[[Any], Any],
    queries: Any,
    *,
    chunk_size: int,
    devices: parallel.Devices | None,
    on_queries: OnQueries | None,
) -> Any:
    """Applies a compiled step to chunks of queries and joins what it returns.

    Args:
      step: function of a chunk; each of its results has one row per query.
      queries: pytree of arrays with Q rows.
      chunk_size: rows of a chunk; fewer where there are fewer queries, and rounded up to fill the devices.
      devices: that share a chunk; None for the default device.
      on_queries: called after each chunk with the queries done so far and Q.

    Returns:
      The step's pytree of NumPy arrays, Q rows each.

    Raises:
      ValueError: chunk_size < 1.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}: must be at least 1")
    num_queries = len(jax.tree.leaves(queries)[0])
    num_devices = 1 if devices is None else devices.mesh.size
    size = -(-min(chunk_size, num_queries) // num_devices) * num_devices

    def run(start: int) -> Any:
        fill = max(0, start + size - num_queries)
        take = lambda x: np.pad(x[start : start + size], [(0, fill)] + [(0, 0)] * (x.ndim - 1))
        values = jax.device_get(parallel.fetch(step(jax.tree.map(take, queries)), devices))
        if on_queries is not None:
            on_queries(min(start + size, num_queries), num_queries)
        return jax.tree.map(lambda x: x[: size - fill], values)

    parts = [run(start) for start in range(0, num_queries, size)]
    return jax.tree.map(lambda *values: np.concatenate(values), *parts)


def _measure(
    query: PackedRows,
    database: PackedRows,
    discounts: Array,
    *,
    max_distance: int,
    max_shared: int,
    cuts: tuple[Cut, ...],
    ranks: tuple[int, ...],
    recall_levels: tuple[float, ...],
    axis_name: str | None,
) -> QueryMetrics:
    query = parallel.local_rows(query, axis_name)
    gains = count_gains(query, database, max_distance=max_distance, max_shared=max_shared)
    counts = gains.counts
    under = lambda cut, ties: average_precision(counts, top_k=cut.top_k, ties=ties, denominator=cut.denominator)
    precisions = [
        jnp.stack([under(cut, ties) for cut in cuts], axis=-1) for ties in ("expected", "pessimistic", "optimistic")
    ]
    at = jnp.array(ranks, jnp.int32)
    metrics = QueryMetrics(
        *precisions,
        precision_at(counts, at),
        recall_at(counts, at),
        ndcg_at(gains, at, discounts),
        precision_at_recall(counts, jnp.array(recall_levels, jnp.float32)),
        *radius_curve(counts),
        jnp.sum(counts.relevant, axis=-1),
    )
    return parallel.gather_rows(metrics, axis_name)


def _checked_ranks(ranks: tuple[int, ...] | None, num_rows: int) -> tuple[int, ...]:
    """The ranks that are asked for; None for `RANKS` as far as a database of `num_rows` rows reaches."""
    if ranks is None:
        return tuple(rank for rank in RANKS if rank <= num_rows)
    for rank in ranks:
        check_rank("rank", rank, num_rows)
    return tuple(ranks)


def evaluate_queries(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
    denominator: str = "min",
    cuts: tuple[Cut, ...] | None = None,
    ranks: tuple[int, ...] | None = None,
    recall_levels: tuple[float, ...] = RECALL_LEVELS,
    chunk_size: int = CHUNK_SIZE,
    devices: parallel.Devices | None = None,
    on_queries: OnQueries | None = None,
) -> QueryMetrics:
    """Every metric of every query; equal rows of the database are counted once, the values are exact.

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count for average precision; None for all.
      denominator: "min", "all" or "retrieved", see `average_precision`.
      cuts: several of these at once, from one pass; average precisions are ``[Q, C]`` then.
      ranks: N of precision, recall and NDCG, each between 1 and the size of the database; None for `RANKS` as far as
        the database reaches.
      recall_levels: of the precision-recall curve, each in (0, 1].
      chunk_size: queries evaluated between two calls of `on_queries`; memory grows with it.
      devices: that share the queries; None for the default device.
      on_queries: called with the queries done so far and Q after each chunk.

    Returns:
      QueryMetrics of NumPy arrays; `mean_over_counted` averages them.

    Raises:
      ValueError: arrays that `accept` refuses, or a rank, level or option out of range.
    """
    given = accept(query_codes, database_codes, query_labels, database_labels)
    wanted = wanted_cuts(top_k, denominator, cuts, len(given.database_codes))
    ranks = _checked_ranks(ranks, len(given.database_codes))
    for level in recall_levels:
        if not 0 < level <= 1:
            raise ValueError(f"recall level {level}: must be above 0 and at most 1")
    hot = given.query_labels
    max_shared = 1 if hot.ndim == 1 else max(1, int(np.sum(hot != 0, axis=1).max()))
    step = parallel.wrap_step(
        _measure,
        devices,
        max_distance=given.query_codes.shape[1],
        max_shared=max_shared,
        cuts=wanted,
        ranks=ranks,
        recall_levels=tuple(recall_levels),
    )
    database = pack_distinct(given.database_codes, given.database_labels)
    replicated = parallel.replicate((database, discount_sums(max(ranks, default=1))), devices)
    queries = pack_in_order(given.query_codes, given.query_labels)
    loop = {"chunk_size": chunk_size, "devices": devices, "on_queries": on_queries}
    metrics = stream_queries(lambda chunk: step(chunk, *replicated), queries, **loop)
    return only_cut(metrics) if cuts is None else metrics


def _rank_stably(
    query: PackedRows,
    database: PackedRows,
    *,
    max_distance: int,
    cuts: tuple[Cut, ...],
    axis_name: str | None,
) -> RankedQueries:
    query = parallel.local_rows(query, axis_name)
    values = stable_precisions(query, database, max_distance=max_distance, cuts=cuts)
    return parallel.gather_rows(RankedQueries(values, count_relevant(query.labels, database)), axis_name)


def stable_queries(
    query_codes: np.ndarray,
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
    """Average precision of every query with equal distances in database order; arguments as in `evaluate_queries`."""
    given = accept(query_codes, database_codes, query_labels, database_labels)
    wanted = wanted_cuts(top_k, denominator, cuts, len(given.database_codes))
    step = parallel.wrap_step(_rank_stably, devices, max_distance=given.query_codes.shape[1], cuts=wanted)
    database = parallel.replicate(pack_in_order(given.database_codes, given.database_labels), devices)
    queries = pack_in_order(given.query_codes, given.query_labels)
    loop = {"chunk_size": chunk_size, "devices": devices, "on_queries": on_queries}
    ranked = stream_queries(lambda chunk: step(chunk, database), queries, **loop)
    return only_cut(ranked) if cuts is None else ranked
