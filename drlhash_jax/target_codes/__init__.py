"""Stage 1: labels to target codes, by the similarity loss, block-wise or exact, or by a likelihood of pairs."""

from drlhash_jax.target_codes.inference import (
    LOSSES,
    PATHS,
    LabelData,
    TargetCodeSettings,
    choose_loss,
    choose_path,
    codes_of,
    gradient_step,
    likelihood_and_gradient,
    start,
)
from drlhash_jax.target_codes.labels import LabelSets, find_label_sets, to_multi_hot
from drlhash_jax.target_codes.pair_likelihood import pair_likelihood_loss
from drlhash_jax.target_codes.similarity_loss import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    quantisation_loss,
)

__all__ = [
    "LOSSES",
    "PATHS",
    "LabelData",
    "LabelSets",
    "TargetCodeSettings",
    "blockwise_similarity_loss",
    "choose_loss",
    "choose_path",
    "codes_of",
    "exact_similarity_loss",
    "find_label_sets",
    "gradient_step",
    "likelihood_and_gradient",
    "pair_likelihood_loss",
    "quantisation_loss",
    "start",
    "to_multi_hot",
]
