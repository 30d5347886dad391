"""Evaluation of finished codes: the jitted metrics behind a host-side function that takes whole arrays."""

import functools

import jax
import numpy as np

from drlhash_jax.retrieval.grouping import pack_distinct
from drlhash_jax.retrieval.metrics import check_shapes, mean_average_precision, retrieval_metrics
from drlhash_jax.types import RetrievalMetrics


@functools.partial(jax.jit, static_argnames=("max_distance", "top_k"))
def _retrieval_metrics(query, database, *, max_distance, top_k):
    return retrieval_metrics(query, database, max_distance=max_distance, top_k=top_k)


@functools.partial(jax.jit, static_argnames=("top_k",))
def _stable_map(query_codes, database_codes, query_labels, database_labels, *, top_k):
    return mean_average_precision(
        query_codes, database_codes, query_labels, database_labels, top_k=top_k, ties="stable"
    )


def evaluate(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
) -> RetrievalMetrics:
    """All metrics of a result row; equal codes are counted once, the values are exact.

    Args:
      query_codes: {0, 1} array ``[Q, K]``.
      database_codes: {0, 1} array ``[N, K]``.
      query_labels: integer ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: integer ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.

    Returns:
      RetrievalMetrics of Python floats and ints.

    Raises:
      ValueError: shapes that do not fit.
    """
    check_shapes(query_codes, database_codes, query_labels, database_labels)
    query = pack_distinct(query_codes, query_labels)
    database = pack_distinct(database_codes, database_labels)
    metrics = _retrieval_metrics(query, database, max_distance=query_codes.shape[1], top_k=top_k)
    return RetrievalMetrics(*(value.item() for value in jax.device_get(metrics)))


def stable_map(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    top_k: int | None = None,
) -> float:
    """Mean average precision with ties in database order; arguments as in `evaluate`."""
    return float(_stable_map(query_codes, database_codes, query_labels, database_labels, top_k=top_k))
