"""Shared containers and the axis letters used in every docstring.

Axis letters: B batch, N database rows, Q queries, K bits, C classes, E environments, T time steps,
W words of 32 packed bits, G distinct label sets.

A code is an array of {0, 1} values, a label array is either integer ``[N]`` (one class a row, a negative
value meaning "no label") or multi-hot ``[N, C]``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array


class Checkpoint(NamedTuple):
    """What a stage's loop asks between its steps.

    Attributes:
      restore: the state before the first step -> the state to go on from.
      offer: takes the number of finished steps and the state after them, which it may save; raises `RunStoppedError` if
        the run is to stop.
    """

    restore: Callable[[Any], Any]
    offer: Callable[[int, Any], None]


# Nothing is ever saved.
NO_CHECKPOINT = Checkpoint(restore=lambda state: state, offer=lambda position, state: None)


class DistanceCounts(NamedTuple):
    """Database rows at each Hamming distance from each query.

    Attributes:
      total: int32 ``[Q, D]``, rows at distance d.
      relevant: int32 ``[Q, D]``, rows at distance d that share a label with the query.
    """

    total: Array
    relevant: Array


class BitSelection(NamedTuple):
    """Bits chosen out of a pool.

    Attributes:
      order: int32 ``[p]``, pool positions in the order of choice.
      reward: float32 scalar, the reward of the set.
      num_evaluations: number of rewards computed to find it.
      found_by: how a search that learns came by it, in words; empty for others.
    """

    order: Array
    reward: Array
    num_evaluations: int
    found_by: str = ""
