"""What methods without an encoder share: inputs as flat rows, read some at a time, and projections of centred rows."""

from collections.abc import Iterator

import numpy as np

from drlhash_jax.training import Start
from drlhash_jax.types import Array

# Rows whose inputs are in memory at a time.
_ROWS_PER_BLOCK = 1024


def flat(x: Array) -> Array:
    """Inputs ``[B, ...]`` as rows ``[B, D]``."""
    return x.reshape(x.shape[0], -1)


def flat_blocks(begin: Start) -> Iterator[Array]:
    """Prepared inputs of the training rows in their order, float32 ``[r, D]`` with r at most 1,024."""
    for place in range(0, len(begin.subset), _ROWS_PER_BLOCK):
        yield flat(begin.prepared(begin.subset[place : place + _ROWS_PER_BLOCK]))


def flat_rows(begin: Start) -> np.ndarray:
    """The same in one array, float32 ``[n, D]``, for methods that hold all training rows in memory."""
    return np.concatenate([np.asarray(block) for block in flat_blocks(begin)])


def mean_of_rows(begin: Start) -> np.ndarray:
    """Mean of the prepared inputs of the training rows, float32 ``[D]``, summed in float64."""
    total = sum(np.asarray(block, np.float64).sum(axis=0) for block in flat_blocks(begin))
    return (total / len(begin.subset)).astype(np.float32)


def logits(params: dict[str, Array], x: Array) -> Array:
    """Projections float32 ``[B, K]`` of centred inputs ``[B, ...]``: (x - mean) projection."""
    return (flat(x) - params["mean"][None]) @ params["projection"]
