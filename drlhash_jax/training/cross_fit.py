"""Codes of training rows by encoders that did not see them.

An encoder's codes of the rows it was fitted to are nearly its target codes: any subset of their bits retrieves almost
perfectly, and a reward computed on them tells nothing. Cross-fitting splits the rows into folds, fits an encoder to
all folds but one, and encodes that one; the folds share the target codes, so their bits mean the same.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec
from drlhash_jax.training.encode import encode_codes
from drlhash_jax.training.train import TrainingSettings, fit_encoder
from drlhash_jax.types import NO_CHECKPOINT, Array, Checkpoint


def assign_folds(key: Array, num_rows: int, num_folds: int) -> np.ndarray:
    """A fold for each row, sizes differing by at most one: int32 ``[num_rows]``."""
    folds = np.arange(num_rows, dtype=np.int32) % num_folds
    return np.asarray(jax.random.permutation(key, folds))


def cross_fit_codes(
    key: Array,
    encoder: nn.Module,
    inputs: np.ndarray,
    codes: np.ndarray,
    spec: InputSpec,
    settings: TrainingSettings,
    num_folds: int,
    pretrained: dict | None = None,
    devices: parallel.Devices | None = None,
    run_fold: Callable[[int, Callable[..., np.ndarray]], np.ndarray] = lambda fold, fit: fit(),
) -> np.ndarray:
    """Out-of-fold codes of every training row.

    Args:
      key: PRNG key, consumed.
      encoder: a module of `encoders`.
      inputs: ``[n, ...]`` training inputs as stored.
      codes: uint8 ``[n, K]`` target codes.
      spec: normalisation of the inputs.
      settings: TrainingSettings of each fit.
      num_folds: number of encoders to fit, at least 2.
      pretrained: what every fit starts from, see `fit_encoder`.
      devices: see `fit_encoder`.
      run_fold: called with a fold and the function of (on_epoch, checkpoint), as in `fit_encoder`, that computes its
        codes; returns the codes, which may have been computed before.

    Returns:
      uint8 ``[n, K]``.
    """
    assign_key, fit_key = jax.random.split(key)
    folds = assign_folds(assign_key, len(inputs), num_folds)
    heldout = np.zeros_like(codes)
    for fold in range(num_folds):

        def fit(
            on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
            checkpoint: Checkpoint = NO_CHECKPOINT,
            fold: int = fold,
        ) -> np.ndarray:
            params = fit_encoder(
                jax.random.fold_in(fit_key, fold),
                encoder,
                inputs,
                codes,
                np.flatnonzero(folds != fold),
                spec,
                settings,
                on_epoch,
                pretrained,
                devices,
                checkpoint,
            )
            return encode_codes(encoder, params, inputs[folds == fold], spec, devices=devices)

        heldout[folds == fold] = run_fold(fold, fit)
    return heldout
