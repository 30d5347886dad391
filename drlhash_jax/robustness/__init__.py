"""Robustness and discrimination of image hashes: content-preserving attacks, and detecting copies by a threshold."""

from drlhash_jax.robustness.attacks import ATTACKS, Attack, find_attack
from drlhash_jax.robustness.distances import count_different, count_same
from drlhash_jax.robustness.hashers import PERCEPTUAL_HASHES, Hasher, model_hasher, perceptual_hasher
from drlhash_jax.robustness.roc import RocCurve, area_under_curve, equal_error_rate, roc_curve, threshold_at
from drlhash_jax.robustness.study import measure_robustness

__all__ = [
    "ATTACKS",
    "PERCEPTUAL_HASHES",
    "Attack",
    "Hasher",
    "RocCurve",
    "area_under_curve",
    "count_different",
    "count_same",
    "equal_error_rate",
    "find_attack",
    "measure_robustness",
    "model_hasher",
    "perceptual_hasher",
    "roc_curve",
    "threshold_at",
]
