"""Evaluation of finished codes: the jitted metrics behind a host-side function that takes whole arrays."""

import jax
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes import pack_distinct
from drlhash_jax.retrieval.arguments import accept
from drlhash_jax.retrieval.metrics import RetrievalMetrics, mean_average_precision, retrieval_metrics


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
