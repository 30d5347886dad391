"""Average precision from distance counts, exact over ties.

Rows at one distance form a block whose inner order is arbitrary. With c rows of which r are relevant, C rows and R
relevant ones before the block, T = min(c, top_k - C) rows of it inside the cut, and H the harmonic numbers,

    S1 = H(C+T) - H(C),   S2 = T - (C+1) S1,
    E[sum of precisions at relevant ranks] = r/c ((R+1) S1 + (r-1)/(c-1) S2)

is the expectation over all orders of the block (McSherry and Najork, ECIR 2008). The bounds put the relevant rows
first or last instead.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.retrieval import retrieved
from drlhash_jax.retrieval.block_sums import block_sums, hits_in_a_row
from drlhash_jax.types import Array, DistanceCounts

TIES = ("expected", "optimistic", "pessimistic")
DENOMINATORS = ("min", "all", "retrieved")


class Cut(NamedTuple):
    """Which ranks count for an average precision, and what it is divided by.

    Attributes:
      top_k: ranks that count; None for all.
      denominator: "min", "all" or "retrieved", see `average_precision`.
    """

    top_k: int | None = None
    denominator: str = "min"


def _expected_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    s1, s2 = block_sums(C, T)
    share = r / jnp.maximum(c, 1)
    other_share = jnp.maximum(r - 1, 0) / jnp.maximum(c - 1, 1)
    return share * ((R + 1) * s1 + other_share * s2)


def _optimistic_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    return hits_in_a_row(jnp.minimum(r, T), C, R)


def _pessimistic_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    misses = c - r
    return hits_in_a_row(jnp.maximum(T - misses, 0), C + misses, R)


_BLOCKS = {"expected": _expected_block, "optimistic": _optimistic_block, "pessimistic": _pessimistic_block}
_OVER_RETRIEVED = {
    "expected": retrieved.expected,
    "optimistic": retrieved.optimistic,
    "pessimistic": retrieved.pessimistic,
}


def average_precision(
    counts: DistanceCounts, *, top_k: int | None = None, ties: str = "expected", denominator: str = "min"
) -> Array:
    """Average precision of each query, thesis Eq. 4.1 read as (1/R) sum of (R_k / k) rel_k.

    Args:
      counts: int32 counts ``[..., D]``.
      top_k: ranks that count; None for all.
      ties: "expected" over random tie order, or the bounds "optimistic" and "pessimistic".
      denominator: "min" divides by min(relevant rows, top_k), "all" by the number of relevant rows, "retrieved" by
        the number of relevant rows among the first top_k, which depends on the order of ties (see `retrieved`).

    Returns:
      float32 ``[...]``; 0 where no row is relevant (`has_relevant` tells).

    Raises:
      ValueError: unknown `ties` or `denominator`, or top_k < 1.
    """
    if ties not in TIES:
        raise ValueError(f"ties={ties!r}: choose one of {', '.join(TIES)}")
    check_cut(top_k, denominator)
    c, r = counts
    chex.assert_equal_shape([c, r])
    C = jnp.cumsum(c, axis=-1) - c
    R = jnp.cumsum(r, axis=-1) - r
    T = c if top_k is None else jnp.clip(top_k - C, 0, c)
    sums = _BLOCKS[ties](c, r, C, R, T)
    if denominator == "retrieved" and top_k is not None:
        return _OVER_RETRIEVED[ties](retrieved.find_cut_block(c, r, top_k, sums), top_k)
    return jnp.sum(sums, axis=-1) / best_possible(counts, top_k, denominator)


def check_cut(top_k: int | None, denominator: str) -> None:
    """Raises ValueError for an unknown `denominator` and for top_k < 1."""
    if denominator not in DENOMINATORS:
        raise ValueError(f"denominator={denominator!r}: choose one of {', '.join(DENOMINATORS)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}: must be at least 1, or None for all ranks")


def best_possible(counts: DistanceCounts, top_k: int | None, denominator: str) -> Array:
    """What a sum of precisions is divided by where the order of ties does not matter: int32 ``[...]``, at least 1.

    Args:
      counts: int32 counts ``[..., D]``.
      top_k: ranks that count; None for all.
      denominator: "min" or "all", see `average_precision`; "retrieved" is "all" when all ranks count.
    """
    relevant = jnp.sum(counts.relevant, axis=-1)
    if denominator == "min" and top_k is not None:
        relevant = jnp.minimum(relevant, top_k)
    return jnp.maximum(relevant, 1)


def has_relevant(counts: DistanceCounts) -> Array:
    """Whether any database row is relevant: bool ``[...]`` for counts ``[..., D]``."""
    return jnp.any(counts.relevant > 0, axis=-1)


def mean_over_queries(values: Array, counts: DistanceCounts, weights: Array, axis_name: str | None = None) -> Array:
    """Mean of a per-query value over the queries that have a relevant row.

    Args:
      values: float32 ``[Q]``.
      counts: int32 counts ``[Q, D]`` of the same queries.
      weights: int32 ``[Q]``, how many queries a row stands for.
      axis_name: axis of the devices that share the queries, Q rows each; None for one device.

    Returns:
      float32 scalar; NaN when no query has a relevant row.
    """
    counted = jnp.where(has_relevant(counts), weights, 0)
    sums = jnp.sum(jnp.where(counted > 0, values, 0.0) * counted), jnp.sum(counted)
    total, number = parallel.total(sums, axis_name)
    return total / number
