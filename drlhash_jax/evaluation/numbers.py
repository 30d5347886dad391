"""Numbers as the files hold them: rounded, and with the interval that goes with a mean."""

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import retrieval

LEVEL, RESAMPLES = 0.95, 1000

# Compiled once for all sets of bits of a run.
_bootstrap = jax.jit(retrieval.bootstrap_interval, static_argnames=("num_resamples", "level"))


def rounded(value: float) -> float | None:
    """Six digits; NaN, where no query has anything to find, becomes null in the files."""
    return round(float(value), 6) if np.isfinite(value) else None


def mean_intervals(values: np.ndarray, seed: int = 0) -> list[list[float]] | None:
    """Bootstrap intervals of means over queries, the queries of all columns resampled together.

    Args:
      values: float ``[Q, M]``, the queries that count.
      seed: of the bootstrap.

    Returns:
      Lower and upper end of each of the M intervals; None where no query counts.
    """
    if len(values) == 0:
        return None
    ends = _bootstrap(jax.random.key(seed), jnp.asarray(values), num_resamples=RESAMPLES, level=LEVEL)
    return [[rounded(end) for end in pair] for pair in np.asarray(ends).T]
