"""Numbers that only the report needs, from codes, labels and learning curves: arrays in, numbers out."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import retrieval
from drlhash_jax.codes import PackedRows, bit_correlation, bit_entropy, collisions, occupancy, pack_distinct
from drlhash_jax.types import Array

_MOST_RANKS = 1000


class CodeCurves(NamedTuple):
    """How well codes retrieve; means over the queries to which anything is relevant, ties as expected.

    Attributes:
      map: mean average precision over the ranks that count.
      precision: float ``[K + 1]``, within each Hamming radius, an empty ball counting 0.
      recall: float ``[K + 1]``, within each Hamming radius.
      precision_at: float ``[M]``, among the first n rows.
    """

    map: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    precision_at: np.ndarray


def rank_grid(num_rows: int) -> tuple[int, ...]:
    """Up to 21 numbers of rows from 1 to a thousand, or to all that there are."""
    return tuple(np.unique(np.linspace(1, min(_MOST_RANKS, num_rows), 21).round().astype(int)).tolist())


@functools.partial(jax.jit, static_argnames=("max_distance", "top_k"))
def _curves(query: PackedRows, database: PackedRows, ranks: Array, *, max_distance: int, top_k: int | None):
    counts = retrieval.count_by_distance(query, database, max_distance=max_distance)
    mean = lambda values: retrieval.mean_over_queries(values, counts, query.weights)
    columns = jax.vmap(mean, in_axes=1)
    ball = retrieval.radius_curve(counts)
    return CodeCurves(
        mean(retrieval.average_precision(counts, top_k=top_k)),
        columns(ball.precision),
        columns(ball.recall),
        columns(retrieval.precision_at(counts, ranks)),
    )


def code_curves(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    ranks: Sequence[int],
    top_k: int | None = None,
) -> CodeCurves:
    """Curves of one set of codes, from one pass over the database.

    Args:
      query_codes: {0, 1} array ``[Q, K]``.
      database_codes: {0, 1} array ``[N, K]``.
      query_labels: integer ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: integer ``[N]`` or multi-hot ``[N, C]``.
      ranks: n of precision_at, M of them.
      top_k: ranks that count in map; None for all.

    Returns:
      CodeCurves of NumPy arrays.
    """
    query = pack_distinct(query_codes, query_labels)
    database = pack_distinct(database_codes, database_labels)
    max_distance = query_codes.shape[1]
    found = _curves(query, database, jnp.array(ranks, jnp.int32), max_distance=max_distance, top_k=top_k)
    return CodeCurves(*map(np.asarray, found))


def mean_curves(curves: Sequence[CodeCurves]) -> CodeCurves:
    """Means over draws or seeds, radius by radius and rank by rank."""
    return CodeCurves(*(np.mean(values, axis=0) for values in zip(*curves)))


HEALTH_FIELDS = {
    "bits": "code length",
    "entropy": "mean entropy of a bit, 1 at most",
    "least entropy": "entropy of the poorest bit",
    "|correlation|": "mean absolute correlation of two bits, without those that never change",
    "distinct codes": "codes that occur",
    "fullest bucket": "rows that share the most frequent code",
    "rows alone": "share of the rows whose code no other row has",
    "pairs alike": "share of all pairs of rows that have equal codes",
    "of one label": "share of those pairs whose rows share a label",
}


def code_health(codes: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """Diagnostics of codes: constant and repeated bits, crowded buckets, rows that cannot be told apart.

    Args:
      codes: {0, 1} array ``[N, K]``, N at least 2.
      labels: integer ``[N]`` or multi-hot ``[N, C]``; None if they are not known.

    Returns:
      Fields of `HEALTH_FIELDS`; NaN where a value is not defined.
    """
    entropy, stand = bit_entropy(codes), occupancy(codes)
    correlation = np.abs(bit_correlation(codes)[~np.eye(codes.shape[1], dtype=bool)])
    known = correlation[~np.isnan(correlation)]
    pairs = int(np.sum(stand.buckets * stand.sizes * (stand.sizes - 1))) // 2
    values = (
        codes.shape[1],
        entropy.mean(),
        entropy.min(),
        known.mean() if len(known) else np.nan,
        stand.num_codes,
        stand.largest,
        stand.alone / stand.num_rows,
        pairs / (stand.num_rows * (stand.num_rows - 1) // 2),
        np.nan if labels is None else collisions(codes, labels).sharing_rate,
    )
    return dict(zip(HEALTH_FIELDS, map(float, values), strict=True))


def relevance(query_labels: np.ndarray, database_labels: np.ndarray) -> np.ndarray:
    """Whether rows share a label with queries: bool ``[Q, N]``; a negative label shares nothing."""
    if query_labels.ndim == 1:
        return (query_labels[:, None] == database_labels) & (query_labels[:, None] >= 0)
    # Counts of shared labels are exact in float32, whose matrix product is fast.
    return (query_labels != 0).astype(np.float32) @ (database_labels != 0).astype(np.float32).T > 0


def mean_scalars(runs: Sequence[Mapping[str, np.ndarray]], name: str) -> np.ndarray:
    """A scalar's mean over runs, as far as all of them reach: float64 ``[updates]``."""
    length = min(len(scalars[name]) for scalars in runs)
    return np.mean([scalars[name][:length] for scalars in runs], axis=0)
