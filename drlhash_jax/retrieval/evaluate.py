"""Evaluation of finished codes: the compiled metrics behind functions that take whole NumPy arrays."""

import jax
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes import PackedRows, pack_distinct, pack_in_order
from drlhash_jax.retrieval.arguments import accept
from drlhash_jax.retrieval.average_precision import average_precision, has_relevant
from drlhash_jax.retrieval.counting import count_by_distance
from drlhash_jax.retrieval.metrics import (
    RetrievalMetrics,
    mean_average_precision,
    retrieval_metrics,
    share_of_queries,
)
from drlhash_jax.types import Array


def evaluate(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
    devices: parallel.Devices | None = None,
) -> RetrievalMetrics:
    """All metrics of a result row; equal codes are counted once, the values are exact.

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.
      devices: that share the queries; None for the default device.

    Returns:
      RetrievalMetrics of Python floats and ints.

    Raises:
      UserError: shapes that do not fit, empty sets, or values that are neither codes nor labels.
    """
    given = accept(query_codes, database_codes, query_labels, database_labels)
    query = pack_distinct(given.query_codes, given.query_labels)
    database = pack_distinct(given.database_codes, given.database_labels)
    step = parallel.wrap_step(retrieval_metrics, devices, max_distance=given.query_codes.shape[1], top_k=top_k)
    return RetrievalMetrics(*(value.item() for value in jax.device_get(step(query, database))))


def stable_map(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
    devices: parallel.Devices | None = None,
) -> float:
    """Mean average precision with ties in database order; arguments and errors as in `evaluate`."""
    step = parallel.wrap_step(mean_average_precision, devices, top_k=top_k, ties="stable")
    return float(step(*accept(query_codes, database_codes, query_labels, database_labels)))


def _expected_precisions(
    query: PackedRows, database: PackedRows, *, max_distance: int, top_k: int | None, axis_name: str | None
) -> tuple[Array, Array]:
    counts = count_by_distance(share_of_queries(query, axis_name), database, max_distance=max_distance)
    return parallel.gather_rows((average_precision(counts, top_k=top_k), has_relevant(counts)), axis_name)


def query_precisions(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
    devices: parallel.Devices | None = None,
) -> np.ndarray:
    """What `evaluate` gives the mean of as map: the average precision of each query that counts, for its interval.

    Arguments and errors as in `evaluate`.

    Returns:
      float32 ``[M]``, in the order of the queries, those without any relevant row left out.
    """
    given = accept(query_codes, database_codes, query_labels, database_labels)
    query = pack_in_order(given.query_codes, given.query_labels)
    database = pack_distinct(given.database_codes, given.database_labels)
    step = parallel.wrap_step(_expected_precisions, devices, max_distance=given.query_codes.shape[1], top_k=top_k)
    values, counted = (
        rows[: len(query.codes)] for rows in jax.device_get(parallel.fetch(step(query, database), devices))
    )
    return values[counted]
