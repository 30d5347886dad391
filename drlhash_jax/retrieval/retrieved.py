"""Average precision divided by the relevant rows among the top R, the denominator of most hashing repositories.

The order of ties decides the denominator too. All blocks but the one that straddles rank R hold the same rows whatever
the order, so they contribute a sum A of precisions and R_b hits. Of the straddling block's c rows, r of them relevant,
the first T are inside; the number x of relevant rows among those is hypergeometric, and given x they are a uniform draw
from the T ranks. With S1 and S2 of these T ranks as in `average_precision`,

    E[AP] = sum over x of P(x) (A + x/T ((R_b+1) S1 + (x-1)/(T-1) S2)) / (R_b + x).

Fewer hits can mean a higher value, so relevant rows first and last are no bounds here; the bounds below are the
largest and the smallest value that any order reaches. A query without a hit in the top R has 0.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from drlhash_jax.retrieval.block_sums import block_sums, hits_in_a_row
from drlhash_jax.types import Array


class CutBlock(NamedTuple):
    """The block in which rank R falls, and what stands before it; arrays ``[...]``.

    Attributes:
      c: int32, rows of the block; 0 where the ranking ends before rank R.
      r: int32, relevant rows of the block.
      T: int32, rows of the block inside the cut.
      C: int32, rows before the block.
      R: int32, relevant rows before the block.
      A: float32, sum of the precisions at the relevant ranks before the block, ties in the wanted order.
    """

    c: Array
    r: Array
    T: Array
    C: Array
    R: Array
    A: Array


def find_cut_block(c: Array, r: Array, top_k: int, sums: Array) -> CutBlock:
    """Splits a ranking at the block that holds rank top_k.

    Args:
      c: int32 ``[..., D]``, rows at each distance.
      r: int32 ``[..., D]``, relevant rows at each distance.
      top_k: R.
      sums: float32 ``[..., D]``, each block's sum of precisions at its relevant ranks.
    """
    end = jnp.cumsum(c, axis=-1)
    cut = (end - c < top_k) & (end >= top_k)
    before = end < top_k
    pick = lambda where, x: jnp.sum(jnp.where(where, x, 0), axis=-1)
    C = pick(before, c)
    size = pick(cut, c)
    return CutBlock(size, pick(cut, r), jnp.minimum(top_k - C, size), C, pick(before, r), pick(before, sums))


def _hit_weights(block: CutBlock, half_width: int) -> tuple[Array, Array]:
    """Hypergeometric weights around the mean: x int32 and P(x) float32, ``[..., 2 half_width + 1]`` each.

    Built outwards from the mean by the ratio of neighbours, which has no cancellation and no large factorials. A ratio
    is 0 at the end of the support and keeps what lies beyond at 0.
    """
    c, r, T = block.c, block.r, block.T
    low, high = jnp.maximum(0, T - (c - r)), jnp.minimum(r, T)
    middle = jnp.clip(jnp.round(T * (r / jnp.maximum(c, 1))).astype(jnp.int32), low, high)
    c, r, T, m = (value[..., None] for value in (c, r, T, middle))
    i = jnp.expand_dims(jnp.arange(1, half_width + 1), range(middle.ndim))
    # Ratios of P(m + i) to P(m + i - 1), and of P(m - i) to P(m - i + 1).
    over = jnp.stack([r - m - i + 1, m - i + 1]), jnp.stack([T - m - i + 1, c - r - T + m - i + 1])
    under = jnp.stack([m + i, r - m + i]), jnp.stack([c - r - T + m + i, T - m + i])
    ratios = jnp.maximum(over[0], 0) / under[0] * (jnp.maximum(over[1], 0) / under[1])
    up, down = jnp.cumprod(ratios, axis=-1)
    weights = jnp.concatenate([jnp.flip(down, axis=-1), jnp.ones_like(m, jnp.float32), up], axis=-1)
    hits = jnp.concatenate([jnp.flip(m - i, axis=-1), m, m + i], axis=-1)
    return hits, weights / jnp.sum(weights, axis=-1, keepdims=True)


def expected(block: CutBlock, top_k: int) -> Array:
    """Expectation over all orders of the ties, float32 ``[...]``.

    Only hits within 4 sqrt(top_k) of their mean are summed: by Hoeffding's inequality for draws without replacement,
    P(|x - mean| >= d) <= 2 exp(-2 d^2 / T), the rest has a probability below 3e-14.
    """
    half_width = min(top_k, math.ceil(4 * math.sqrt(top_k)) + 1)
    x, weights = _hit_weights(block, half_width)
    s1, s2 = block_sums(block.C, block.T)
    one = ((block.R + 1) * s1 / jnp.maximum(block.T, 1))[..., None]
    two = (s2 / (jnp.maximum(block.T, 1).astype(jnp.float32) * jnp.maximum(block.T - 1, 1)))[..., None]
    sums = block.A[..., None] + x * (one + (x - 1) * two)
    return jnp.sum(jnp.where(weights > 0, weights * sums / jnp.maximum(block.R[..., None] + x, 1), 0.0), axis=-1)


def _support(block: CutBlock) -> tuple[Array, Array]:
    return jnp.maximum(0, block.T - (block.c - block.r)), jnp.minimum(block.r, block.T)


def optimistic(block: CutBlock, top_k: int) -> Array:
    """Largest value over all orders, float32 ``[...]``; `block.A` with relevant rows first.

    With x hits it is best to have them first: (A + sum of (R+i)/(C+i)) / (R + x). That is a mean of terms whose added
    ones grow, so it falls and then rises in x, and the maximum is at an end of the support.
    """
    del top_k
    value = lambda x: (block.A + hits_in_a_row(x, block.C, block.R)) / jnp.maximum(block.R + x, 1)
    fewest, most = _support(block)
    return jnp.maximum(value(fewest), value(most))


def pessimistic(block: CutBlock, top_k: int) -> Array:
    """Smallest value over all orders, float32 ``[...]``; `block.A` with relevant rows last.

    With x hits it is worst to have them last. One hit more then adds

        (R+1)/(C+T-x) + sum of 1/p over the last x ranks p,

    which grows with x: the sum is convex and its quotient by R + x falls and then rises. The first x from which it
    rises is found by bisection.
    """
    C, R, T = block.C, block.R, block.T
    total = lambda x: block.A + hits_in_a_row(x, C + T - x, R)
    added = lambda x: (R + 1) / jnp.maximum(C + T - x, 1) + block_sums(C + T - x, x)[0]

    def halve(_, ends):
        low, high = ends
        middle = (low + high) // 2
        rises = added(middle) * (R + middle) >= total(middle)
        return jnp.minimum(jnp.where(rises, low, middle + 1), high), jnp.where(rises, middle, high)

    x, _ = jax.lax.fori_loop(0, top_k.bit_length() + 1, halve, _support(block))
    return jnp.where(R + x > 0, total(x) / jnp.maximum(R + x, 1), 0.0)
