"""Stage 1: labels to target codes by the similarity loss, block-wise or exact."""

from drlhash_jax.target_codes.inference import PATHS, TargetCodes, TargetCodeSettings, choose_path, infer_target_codes
from drlhash_jax.target_codes.labels import LabelSets, find_label_sets, to_multi_hot
from drlhash_jax.target_codes.similarity_loss import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    quantisation_loss,
)

__all__ = [
    "PATHS",
    "LabelSets",
    "TargetCodeSettings",
    "TargetCodes",
    "blockwise_similarity_loss",
    "choose_path",
    "exact_similarity_loss",
    "find_label_sets",
    "infer_target_codes",
    "quantisation_loss",
    "to_multi_hot",
]
