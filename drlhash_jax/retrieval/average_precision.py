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

# Terms that are summed one by one; from here on the series of the harmonic numbers is exact in float32.
_EXPLICIT_TERMS = 8


def _series_rest(x: Array) -> Array:
    """1/(24 x^2) - 7/(960 x^4), the tail of H(n) - gamma - ln(x) at x = n + 1/2."""
    return 1.0 / (24.0 * x**2) - 7.0 / (960.0 * x**4)


def _x_minus_log1p(x: Array) -> Array:
    """x - ln(1 + x), by its series where the difference would cancel."""
    series = 1 / 2 + x * (-1 / 3 + x * (1 / 4 + x * (-1 / 5 + x * (1 / 6 + x * (-1 / 7 + x / 8)))))
    return jnp.where(x < 0.1, x**2 * series, x - jnp.log1p(x))


def block_sums(start: Array, length: Array) -> tuple[Array, Array]:
    """S1 = sum of 1 / (start + i) and S2 = sum of (i - 1) / (start + i) over i = 1 .. length.

    S1 is a difference of harmonic numbers, and a difference of tabulated ones loses all digits when start >> length;
    so does S2 = length - (start + 1) S1. The first terms are added one by one, and the rest, with C = start + 8,
    T = length - 8 and x = T / (C + 1/2), follows from H(n) = ln(n + 1/2) + gamma + rest(n + 1/2):

        S1 = ln(1 + x) + d,   S2 = (C + 1/2) (x - ln(1 + x)) - 1/2 ln(1 + x) - (C + 1) d,

    where d is the difference of the rests. Every sum here has a relative error of a few float32 roundings.

    Args:
      start: integer ``[...]``, not negative.
      length: integer ``[...]``, not negative.

    Returns:
      float32 ``[...]`` each.
    """
    s1 = jnp.zeros(jnp.broadcast_shapes(start.shape, length.shape), jnp.float32)
    s2 = s1
    for i in range(1, _EXPLICIT_TERMS + 1):
        term = jnp.where(i <= length, 1.0 / (start + i).astype(jnp.float32), 0.0)
        s1 += term
        s2 += (i - 1.0) * term
    rest = jnp.maximum(length - _EXPLICIT_TERMS, 0).astype(jnp.float32)
    low = (start + _EXPLICIT_TERMS).astype(jnp.float32) + 0.5
    x = rest / low
    tails = jnp.where(rest > 0, _series_rest(low + rest) - _series_rest(low), 0.0)
    rest_s1 = jnp.log1p(x) + tails
    rest_s2 = low * _x_minus_log1p(x) - 0.5 * jnp.log1p(x) - (low + 0.5) * tails
    # The rest's terms are counted from its own start: (i - 1) = (j - 1) + _EXPLICIT_TERMS.
    return s1 + rest_s1, s2 + rest_s2 + _EXPLICIT_TERMS * rest_s1


def _expected_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    s1, s2 = block_sums(C, T)
    share = r / jnp.maximum(c, 1)
    other_share = jnp.maximum(r - 1, 0) / jnp.maximum(c - 1, 1)
    return share * ((R + 1) * s1 + other_share * s2)


def _hits_in_a_row(hits: Array, C: Array, R: Array) -> Array:
    """Sum of (R + i) / (C + i) over i = 1 .. hits: relevant rows one after the other."""
    s1, s2 = block_sums(C, hits)
    return (R + 1) * s1 + s2


def _optimistic_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    return _hits_in_a_row(jnp.minimum(r, T), C, R)


def _pessimistic_block(c: Array, r: Array, C: Array, R: Array, T: Array) -> Array:
    misses = c - r
    return _hits_in_a_row(jnp.maximum(T - misses, 0), C + misses, R)


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
