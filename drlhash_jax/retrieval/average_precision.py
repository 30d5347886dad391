"""Average precision from distance counts, exact over ties.

Rows at one distance form a block whose inner order is arbitrary. With c rows of which r are relevant, C rows and R
relevant ones before the block, T = min(c, top_k - C) rows of it inside the cut, and H the harmonic numbers,

    S1 = H(C+T) - H(C),   S2 = T - (C+1) S1,
    E[sum of precisions at relevant ranks] = r/c ((R+1) S1 + (r-1)/(c-1) S2)

is the expectation over all orders of the block (McSherry and Najork, ECIR 2008). The bounds put the relevant rows
first or last instead.
"""

import chex
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.types import Array, DistanceCounts

TIES = ("expected", "optimistic", "pessimistic")
DENOMINATORS = ("min", "all")

# Terms of a harmonic difference that are summed one by one; from here on the series below is exact in float32.
_EXPLICIT_TERMS = 8


def harmonic_difference(start: Array, length: Array) -> Array:
    """H(start + length) - H(start), with a relative error of a few float32 roundings.

    Differences of tabulated harmonic numbers lose all digits when start >> length, so the first terms are added
    one by one and the rest follows from H(n) = ln(n + 1/2) + gamma + 1/(24 (n + 1/2)^2) - 7/(960 (n + 1/2)^4) + ...

    Args:
      start: integer ``[...]``, not negative.
      length: integer ``[...]``, not negative.

    Returns:
      float32 ``[...]``.
    """
    explicit = jnp.zeros(jnp.broadcast_shapes(start.shape, length.shape), jnp.float32)
    for i in range(1, _EXPLICIT_TERMS + 1):
        explicit += jnp.where(i <= length, 1.0 / (start + i).astype(jnp.float32), 0.0)
    rest = jnp.maximum(length - _EXPLICIT_TERMS, 0)
    low = (start + _EXPLICIT_TERMS).astype(jnp.float32) + 0.5
    high = (start + _EXPLICIT_TERMS + rest).astype(jnp.float32) + 0.5
    series = lambda x: 1.0 / (24.0 * x**2) - 7.0 / (960.0 * x**4)
    return explicit + jnp.where(rest > 0, jnp.log1p(rest / low) + (series(high) - series(low)), 0.0)


def _weighted_ranks(start: Array, length: Array, harmonic: Array) -> Array:
    """S2 = sum over i = 1..length of (i - 1) / (start + i); float32, free of cancellation for short blocks."""
    explicit = jnp.zeros_like(harmonic)
    for i in range(2, _EXPLICIT_TERMS + 1):
        explicit += jnp.where(i <= length, (i - 1.0) / (start + i).astype(jnp.float32), 0.0)
    closed = length.astype(jnp.float32) - (start + 1).astype(jnp.float32) * harmonic
    return jnp.where(length <= _EXPLICIT_TERMS, explicit, closed)


def _expected_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    s1 = harmonic_difference(C, T)
    s2 = _weighted_ranks(C, T, s1)
    share = r / jnp.maximum(c, 1)
    other_share = jnp.maximum(r - 1, 0) / jnp.maximum(c - 1, 1)
    return share * ((R + 1) * s1 + other_share * s2)


def _optimistic_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    hits = jnp.minimum(r, T)
    return hits - (C - R) * harmonic_difference(C, hits)


def _pessimistic_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    misses = c - r
    hits = jnp.maximum(T - misses, 0)
    return hits - (C + misses - R) * harmonic_difference(C + misses, hits)


_BLOCKS = {"expected": _expected_block, "optimistic": _optimistic_block, "pessimistic": _pessimistic_block}


def average_precision(
    counts: DistanceCounts, *, top_k: int | None = None, ties: str = "expected", denominator: str = "min"
) -> Array:
    """Average precision of each query, thesis Eq. 4.1 read as (1/R) sum of (R_k / k) rel_k.

    Args:
      counts: int32 counts ``[..., D]``.
      top_k: ranks that count; None for all.
      ties: "expected" over random tie order, or the bounds "optimistic" and "pessimistic".
      denominator: "min" divides by min(relevant rows, top_k), "all" by the number of relevant rows.

    Returns:
      float32 ``[...]``; 0 where no row is relevant (`has_relevant` tells).

    Raises:
      ValueError: unknown `ties` or `denominator`, or top_k < 1.
    """
    if ties not in TIES:
        raise ValueError(f"ties={ties!r}: choose one of {', '.join(TIES)}")
    c, r = counts
    chex.assert_equal_shape([c, r])
    C = jnp.cumsum(c, axis=-1) - c
    R = jnp.cumsum(r, axis=-1) - r
    T = c if top_k is None else jnp.clip(top_k - C, 0, c)
    precisions = jnp.sum(_BLOCKS[ties](c, r, C, R, T), axis=-1)
    return precisions / best_possible(counts, top_k, denominator)


def best_possible(counts: DistanceCounts, top_k: int | None, denominator: str) -> Array:
    """What a sum of precisions is divided by: int32 ``[...]``, at least 1.

    Args:
      counts: int32 counts ``[..., D]``.
      top_k: ranks that count; None for all.
      denominator: see `average_precision`.

    Raises:
      ValueError: unknown `denominator`, or top_k < 1.
    """
    if denominator not in DENOMINATORS:
        raise ValueError(f"denominator={denominator!r}: choose one of {', '.join(DENOMINATORS)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}: must be at least 1, or None for all ranks")
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
