"""Normalised discounted cumulative gain (NDCG) for graded relevance: the gain of a row is its number of shared labels.

DCG@n = sum over ranks k <= n of gain_k / log2(k + 1) (Järvelin and Kekäläinen, TOIS 2002, with the gain itself and not
2^gain - 1), divided by that of the best order of the whole database. The expectation over random order of equal
distances spreads a block's gains evenly over its ranks (McSherry and Najork, ECIR 2008), so a block of c rows with
gains adding up to G, C rows before it, is worth G/c (D(C + c) - D(C)), D(n) being the sum of the first n discounts.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.codes import PackedRows
from drlhash_jax.retrieval.counting import hamming_distance, num_shared_labels
from drlhash_jax.types import Array, DistanceCounts


class GainCounts(NamedTuple):
    """Shared labels at each Hamming distance from each query.

    Attributes:
      total: int32 ``[Q, D]``, rows at distance d.
      relevant: int32 ``[Q, D]``, rows at distance d that share a label.
      gain: int32 ``[Q, D]``, shared labels of the rows at distance d together.
      rows: int32 ``[Q, G + 1]``, rows of the whole database that share g labels.
    """

    total: Array
    relevant: Array
    gain: Array
    rows: Array

    @property
    def counts(self) -> DistanceCounts:
        """The part that metrics of yes-or-no relevance need."""
        return DistanceCounts(self.total, self.relevant)


def count_gains(query: PackedRows, database: PackedRows, *, max_distance: int, max_shared: int) -> GainCounts:
    """Counts rows by Hamming distance and shared labels, one query at a time as in `count_by_distance`.

    Args:
      query: packed queries, Q rows; weights unused here.
      database: packed database, N rows.
      max_distance: largest distance that can occur.
      max_shared: largest number of shared labels that can occur, G; 1 for integer labels.

    Returns:
      GainCounts.
    """
    chex.assert_rank([query.codes, database.codes, database.weights], [2, 2, 1])
    gains = jnp.arange(max_shared + 1)

    def histogram(row: tuple[Array, Array]) -> GainCounts:
        code, label = row
        cell = hamming_distance(code, database.codes) * (max_shared + 1) + num_shared_labels(label, database.labels)
        cells = jnp.zeros((max_distance + 1) * (max_shared + 1), jnp.int32)
        cells = cells.at[cell].add(database.weights, mode="promise_in_bounds").reshape(-1, max_shared + 1)
        return GainCounts(
            total=jnp.sum(cells, axis=1),
            relevant=jnp.sum(cells[:, 1:], axis=1),
            gain=jnp.sum(cells * gains[None], axis=1),
            rows=jnp.sum(cells, axis=0),
        )

    return jax.lax.map(histogram, (query.codes, query.labels))


def discount_sums(num_ranks: int) -> np.ndarray:
    """Sums D(n) of the first n discounts 1 / log2(k + 1), n = 0 .. num_ranks.

    Returns:
      float32 ``[2, num_ranks + 1]``: the sums, and what float32 left of them. The difference of two far sums would lose
      its digits in the first row alone.
    """
    sums = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2.0, num_ranks + 2.0)))])
    rounded = sums.astype(np.float32)
    return np.stack([rounded, (sums - rounded).astype(np.float32)])


def _discounted(rows: Array, gain: Array, ranks: Array, discounts: Array) -> Array:
    """DCG@n of blocks of rows that share their gain: float32 ``[Q, M]`` from int32 ``[Q, D]`` twice."""
    end = jnp.cumsum(rows, axis=-1)
    cut = lambda rank: discounts[:, jnp.minimum(rank[:, None], ranks[None, :, None])]
    difference = cut(end) - cut(end - rows)
    return jnp.sum((gain / jnp.maximum(rows, 1))[:, None] * (difference[0] + difference[1]), axis=-1)


def ndcg_at(counts: GainCounts, ranks: Array, discounts: Array) -> Array:
    """Expected NDCG among the first n rows.

    Args:
      counts: GainCounts of Q queries.
      ranks: int32 ``[M]``, each at least 1.
      discounts: float32 ``[2, n + 1]`` of `discount_sums`, n at least the largest rank or the number of rows.

    Returns:
      float32 ``[Q, M]``; 0 where no row is relevant.
    """
    best_first = jnp.flip(counts.rows, axis=-1)
    gains = jnp.arange(counts.rows.shape[-1] - 1, -1, -1)
    best = _discounted(best_first, best_first * gains[None], ranks, discounts)
    reached = _discounted(counts.total, counts.gain, ranks, discounts)
    return jnp.where(best > 0, reached / jnp.where(best > 0, best, 1.0), 0.0)
