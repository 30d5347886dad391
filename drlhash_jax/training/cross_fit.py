"""Codes of training rows by encoders that did not see them.

An encoder's codes of the rows it was fitted to are nearly its target codes: any subset of their bits retrieves almost
perfectly, and a reward computed on them tells nothing. Cross-fitting splits the rows into folds, fits an encoder to
all folds but one, and encodes that one. The folds share what the phases before hand on, such as target codes, so their
bits mean the same; a method without such a phase cannot be cross-fitted.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from drlhash_jax.training.encode import Logits, encode_codes
from drlhash_jax.training.phase import Phase
from drlhash_jax.training.rows import TrainingRows
from drlhash_jax.training.run_phase import run_phase
from drlhash_jax.types import NO_CHECKPOINT, Array, Checkpoint


def assign_folds(key: Array, num_rows: int, num_folds: int) -> np.ndarray:
    """A fold for each row, sizes differing by at most one: int32 ``[num_rows]``."""
    folds = np.arange(num_rows, dtype=np.int32) % num_folds
    return np.asarray(jax.random.permutation(key, folds))


def cross_fit_codes(
    key: Array,
    phase: Phase,
    logits: Logits,
    rows: TrainingRows,
    num_folds: int,
    *,
    before: Mapping[str, Any] | None = None,
    run_fold: Callable[[int, Callable[..., np.ndarray]], np.ndarray] = lambda fold, fit: fit(),
) -> np.ndarray:
    """Out-of-fold codes of every training row.

    Args:
      key: PRNG key, consumed.
      phase: the last phase of a method whose bits are shared.
      logits: of the method, see `Logits`.
      rows: TrainingRows, n of them.
      num_folds: number of encoders to fit, at least 2.
      before: what the phases before handed on.
      run_fold: called with a fold and the function of (on_epoch, checkpoint), as in `run_phase`, that computes its
        codes; returns the codes, which may have been computed before.

    Returns:
      uint8 ``[n, K]``.
    """
    assign_key, fit_key = jax.random.split(key)
    folds = assign_folds(assign_key, len(rows.labels), num_folds)
    parts = []
    for fold in range(num_folds):

        def fit(
            on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, means: None,
            checkpoint: Checkpoint = NO_CHECKPOINT,
            fold: int = fold,
        ) -> np.ndarray:
            fold_key, others = jax.random.fold_in(fit_key, fold), np.flatnonzero(folds != fold)
            handed_on = run_phase(
                fold_key, phase, rows, others, before=before, on_epoch=on_epoch, checkpoint=checkpoint
            )
            held_out = rows.inputs[np.flatnonzero(folds == fold)]
            return encode_codes(logits, handed_on["params"], held_out, rows.spec, devices=rows.devices)

        parts.append(run_fold(fold, fit))
    heldout = np.zeros((len(rows.labels), parts[0].shape[1]), np.uint8)
    for fold, codes in enumerate(parts):
        heldout[folds == fold] = codes
    return heldout
