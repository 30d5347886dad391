"""The one loop: steps in chunks, with a check for finite numbers, progress, and saved states between them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def run_chunks(
    advance: Callable[[Any, int, int], tuple[Any, Mapping[str, np.ndarray]]],
    state: Any,
    *,
    position: int,
    total: int,
    next_stop: Callable[[int], int],
    describe: Callable[[int], str],
    report: Callable[[int, Mapping[str, np.ndarray]], None],
    offer: Callable[[int, Any], None],
) -> Any:
    """Takes steps until all are done.

    Args:
      advance: (state, first step, step to stop before) -> (state, metrics ``[stop - first]`` by name, on the host).
      state: after `position` steps.
      position: steps that are done.
      total: steps in all.
      next_stop: steps done -> steps done after the next chunk.
      describe: number of a step -> where it was, for the message about a number that is not finite.
      report: called after each chunk with the steps done and its metrics.
      offer: called after each chunk with the steps done and the state, see `types.Checkpoint`.

    Returns:
      The last state.

    Raises:
      FloatingPointError: a metric is NaN or infinite; that state is not offered.
    """
    while position < total:
        stop = next_stop(position)
        state, metrics = advance(state, position, stop)
        for name, values in metrics.items():
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                raise FloatingPointError(f"{name} is {values[bad[0]]} {describe(position + int(bad[0]))}")
        report(stop, metrics)
        offer(stop, state)
        position = stop
    return state
