"""Sums of precisions along a run of ranks, from integers and accurate in float32."""

import jax.numpy as jnp

from drlhash_jax.types import Array

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


def hits_in_a_row(hits: Array, C: Array, R: Array) -> Array:
    """Sum of (R + i) / (C + i) over i = 1 .. hits: relevant rows one after the other."""
    s1, s2 = block_sums(C, hits)
    return (R + 1) * s1 + s2
