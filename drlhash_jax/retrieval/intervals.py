"""How sure a mean over queries is."""

import jax
import jax.numpy as jnp

from drlhash_jax.types import Array

# Resamples drawn at a time: 64 draws of 10,000 queries are 2.5 MB.
_BATCH = 64


def bootstrap_interval(key: Array, values: Array, *, num_resamples: int = 1000, level: float = 0.95) -> Array:
    """Percentile bootstrap interval of a mean over queries (Efron and Tibshirani 1993, chapter 13).

    It tells how much the mean would move with other queries; the codes, and so the training, stay as they are. Columns
    of one call are resampled together.

    Args:
      key: PRNG key.
      values: float32 ``[Q]`` or ``[Q, M]``, one row per query, without the queries that do not count.
      num_resamples: number of resampled query sets.
      level: share of the resampled means inside the interval.

    Returns:
      float32 ``[2]`` or ``[2, M]``, lower and upper end.

    Raises:
      ValueError: no queries, fewer than one resample, or a level outside (0, 1).
    """
    if values.ndim not in (1, 2) or values.shape[0] == 0:
        raise ValueError(f"values of shape {values.shape}: needs [Q] or [Q, M] with at least one query")
    if num_resamples < 1:
        raise ValueError(f"num_resamples={num_resamples}: must be at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must be between 0 and 1")
    num_queries = values.shape[0]
    # Means of differences from the mean: the digits go into the spread.
    centre = jnp.mean(values, axis=0)
    centred = values - centre[None]

    def resampled_mean(key: Array) -> Array:
        return jnp.mean(centred[jax.random.randint(key, (num_queries,), 0, num_queries)], axis=0)

    means = jax.lax.map(resampled_mean, jax.random.split(key, num_resamples), batch_size=_BATCH)
    tails = jnp.array([(1 - level) / 2, (1 + level) / 2])
    return jnp.quantile(means, tails, axis=0) + centre[None]
