"""All phases of a method, one after the other."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from drlhash_jax.training.phase import Phase
from drlhash_jax.training.rows import TrainingRows
from drlhash_jax.training.run_phase import run_phase
from drlhash_jax.types import Array

# A phase, and the function of (on_epoch, checkpoint), as in `run_phase`, that runs it -> what it hands on, which may
# have been computed before.
RunStage = Callable[[Phase, Callable[..., dict[str, Any]]], dict[str, Any]]


def fit(
    phases: Sequence[Phase],
    rows: TrainingRows,
    key_of: Callable[[str], Array],
    subset: np.ndarray | None = None,
    *,
    before: Mapping[str, Any] | None = None,
    run_stage: RunStage = lambda phase, run: run(),
) -> dict[str, Any]:
    """Runs phases, each on what the one before handed on.

    Args:
      phases: of a method.
      rows: TrainingRows.
      key_of: name of a phase -> its PRNG key.
      subset: int ``[m]``, numbers of the rows to train on; None for all.
      before: what the first of these phases starts from.
      run_stage: see `RunStage`.

    Returns:
      What the last phase hands on, see `Phase.finish`.

    Raises:
      FloatingPointError: see `run_phase`.
    """
    for phase in phases:
        run = functools.partial(run_phase, key_of(phase.name), phase, rows, subset, before=before)
        before = run_stage(phase, run)
    return before
