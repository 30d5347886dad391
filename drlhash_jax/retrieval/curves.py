"""Precision and recall by rank and by Hamming radius, from distance counts; ties are averaged exactly."""

from typing import NamedTuple

import jax.numpy as jnp

from drlhash_jax.types import Array, DistanceCounts


class RadiusCurve(NamedTuple):
    """What a ball of each radius d holds; an empty ball has precision 0.

    Attributes:
      precision: float32 ``[..., D]``.
      recall: float32 ``[..., D]``.
      empty: bool ``[..., D]``, whether the ball holds no row.
    """

    precision: Array
    recall: Array
    empty: Array


def _expected_hits(counts: DistanceCounts, ranks: Array) -> Array:
    """Expected number of relevant rows among the first ranks, float32 ``[..., M]`` for ranks int32 ``[M]``."""
    c, r = (x[..., None, :] for x in counts)
    C = jnp.cumsum(c, axis=-1) - c
    inside = jnp.clip(jnp.expand_dims(ranks, (*range(c.ndim - 2), c.ndim - 1)) - C, 0, c)
    return jnp.sum(inside * (r / jnp.maximum(c, 1)), axis=-1)


def precision_at(counts: DistanceCounts, ranks: Array) -> Array:
    """Expected precision among the first n rows, (R_d + (n - C_d) r_d / c_d) / n.

    Args:
      counts: int32 counts ``[..., D]``.
      ranks: int32 ``[M]``, each at least 1. Past the end of the database the missing rows count as irrelevant.

    Returns:
      float32 ``[..., M]``.
    """
    return _expected_hits(counts, ranks) / jnp.expand_dims(ranks, range(counts.total.ndim - 1))


def recall_at(counts: DistanceCounts, ranks: Array) -> Array:
    """Expected share of the relevant rows found among the first n; shapes as in `precision_at`."""
    relevant = jnp.sum(counts.relevant, axis=-1, keepdims=True)
    return _expected_hits(counts, ranks) / jnp.maximum(relevant, 1)


def precision_at_recall(counts: DistanceCounts, levels: Array) -> Array:
    """Expected precision where the expected recall reaches each level.

    The expected number of hits grows linearly inside a block, so a level L of R_tot relevant rows is reached at the
    real-valued rank n = C_d + c_d (L R_tot - R_d) / r_d, with precision L R_tot / n. Without ties and with a whole
    L R_tot that is the precision at the rank of that hit. Nothing is interpolated between levels.

    Args:
      counts: int32 counts ``[..., D]``.
      levels: float32 ``[L]``, each in (0, 1].

    Returns:
      float32 ``[..., L]``; 0 where no row is relevant.
    """
    c, r = (x[..., None, :] for x in counts)
    wanted = jnp.sum(r, axis=-1) * jnp.expand_dims(levels, range(counts.total.ndim - 1))
    end = jnp.cumsum(r, axis=-1)
    # Levels are rounded, .3 * 10 > 3 among them, and must not slip into the next block for it.
    reached = (end >= wanted[..., None] * (1 - 1e-6)) & (r > 0)
    block = jnp.argmax(reached, axis=-1, keepdims=True)
    pick = lambda x: jnp.take_along_axis(x, block, axis=-1)[..., 0]
    share = jnp.clip((wanted - pick(end - r)) / jnp.maximum(pick(r), 1), 0, 1)
    rank = pick(jnp.cumsum(c, axis=-1) - c) + share * pick(c)
    return jnp.where(jnp.any(reached, axis=-1), wanted / jnp.maximum(rank, wanted), 0.0)


def radius_curve(counts: DistanceCounts) -> RadiusCurve:
    """Precision and recall within every Hamming radius 0 .. D - 1, for counts ``[..., D]``."""
    found = jnp.cumsum(counts.total, axis=-1)
    hits = jnp.cumsum(counts.relevant, axis=-1)
    return RadiusCurve(
        precision=hits / jnp.maximum(found, 1),
        recall=hits / jnp.maximum(hits[..., -1:], 1),
        empty=found == 0,
    )
