"""The measuring room: Hamming distances, tie-aware average precision, curves. Reward and report share it."""

from drlhash_jax.retrieval.average_precision import average_precision, has_relevant, mean_over_queries
from drlhash_jax.retrieval.counting import count_by_distance, hamming_distance, share_label
from drlhash_jax.retrieval.curves import precision_at, radius_curve, recall_at
from drlhash_jax.retrieval.evaluate import evaluate, stable_map
from drlhash_jax.retrieval.grouping import pack_distinct
from drlhash_jax.retrieval.metrics import (
    mean_average_precision,
    pack_rows,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
    retrieval_metrics,
    share_of_queries,
)
from drlhash_jax.retrieval.packing import pack_labels, pack_words

__all__ = [
    "average_precision",
    "count_by_distance",
    "evaluate",
    "hamming_distance",
    "has_relevant",
    "mean_average_precision",
    "mean_over_queries",
    "pack_distinct",
    "pack_labels",
    "pack_rows",
    "pack_words",
    "precision_at",
    "precision_at_n",
    "precision_recall_curve",
    "precision_within_radius",
    "radius_curve",
    "recall_at",
    "retrieval_metrics",
    "share_label",
    "share_of_queries",
    "stable_map",
]
