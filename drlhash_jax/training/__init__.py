"""Training: phases of methods run step by step on any devices, encoding, and held-out codes for the reward."""

from drlhash_jax.training.cross_fit import assign_folds, cross_fit_codes
from drlhash_jax.training.encode import encode_codes, encode_logits
from drlhash_jax.training.feeds import multi_hot
from drlhash_jax.training.fit import fit
from drlhash_jax.training.gradient import gradient_phase
from drlhash_jax.training.loop import run_chunks
from drlhash_jax.training.loss import binary_cross_entropy, weighted_mean
from drlhash_jax.training.phase import Batch, FrozenCodes, Phase, Start, State, epoch_keys
from drlhash_jax.training.rows import TrainingRows, place_rows
from drlhash_jax.training.run_phase import run_phase
from drlhash_jax.training.settings import TrainingSettings

__all__ = [
    "Batch",
    "FrozenCodes",
    "Phase",
    "Start",
    "State",
    "TrainingRows",
    "TrainingSettings",
    "assign_folds",
    "binary_cross_entropy",
    "cross_fit_codes",
    "encode_codes",
    "encode_logits",
    "epoch_keys",
    "fit",
    "gradient_phase",
    "multi_hot",
    "place_rows",
    "run_chunks",
    "run_phase",
    "weighted_mean",
]
