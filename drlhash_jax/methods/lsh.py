"""Locality-sensitive hashing: signs of random projections. Nothing is learnt from labels; the floor of every table."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods.base import Ingredients, Method
from drlhash_jax.training import Phase, Start, State
from drlhash_jax.types import Array

# Rows whose inputs are in memory at a time.
_ROWS_PER_SUM = 1024


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


def _mean(begin: Start) -> np.ndarray:
    """Mean of the prepared inputs of the training rows, float32 ``[D]``, summed in float64."""
    total = 0.0
    for place in range(0, len(begin.subset), _ROWS_PER_SUM):
        rows = begin.prepared(begin.subset[place : place + _ROWS_PER_SUM])
        total = total + np.asarray(_flat(rows), np.float64).sum(axis=0)
    return (total / len(begin.subset)).astype(np.float32)


def logits(params: dict[str, Array], x: Array) -> Array:
    """Projections float32 ``[B, K]`` of centred inputs ``[B, ...]``."""
    return (_flat(x) - params["mean"][None]) @ params["projection"]


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """One projection a bit, drawn from N(0, 1) (Charikar, STOC 2002); images are flattened."""

    def init(key: Array, begin: Start) -> State:
        mean = _mean(begin)
        projection = jax.random.normal(key, (len(mean), given.num_bits), jnp.float32)
        return State(jnp.zeros((), jnp.int32), {"mean": mean, "projection": projection})

    return Method((Phase("projection", 0, 0, init),), logits)
