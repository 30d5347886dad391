"""Stage 2: inputs to codes. Training on target codes, encoding, and out-of-fold codes for the reward."""

from drlhash_jax.training.cross_fit import assign_folds, cross_fit_codes
from drlhash_jax.training.encode import binarize, encode_codes, encode_logits
from drlhash_jax.training.loss import binary_cross_entropy
from drlhash_jax.training.optimizer import OPTIMIZERS, make_optimizer
from drlhash_jax.training.train import (
    Batch,
    TrainingSettings,
    epoch_batches,
    fit_encoder,
    loss_and_gradient,
    start_from,
    train_step,
)

__all__ = [
    "OPTIMIZERS",
    "Batch",
    "TrainingSettings",
    "assign_folds",
    "binarize",
    "binary_cross_entropy",
    "cross_fit_codes",
    "encode_codes",
    "encode_logits",
    "epoch_batches",
    "fit_encoder",
    "loss_and_gradient",
    "make_optimizer",
    "start_from",
    "train_step",
]
