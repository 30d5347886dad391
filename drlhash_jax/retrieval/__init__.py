"""The measuring room: Hamming distances, tie-aware average precision, curves. Reward and report share it."""

from drlhash_jax.codes.checks import check_evaluation, count_unlabelled
from drlhash_jax.codes.grouping import pack_distinct, pack_in_order
from drlhash_jax.codes.health import (
    Collisions,
    Occupancy,
    bit_balance,
    bit_correlation,
    bit_entropy,
    collisions,
    occupancy,
)
from drlhash_jax.retrieval.asymmetric import asymmetric_average_precision, asymmetric_queries
from drlhash_jax.retrieval.average_precision import (
    DENOMINATORS,
    Cut,
    average_precision,
    has_relevant,
    mean_over_queries,
)
from drlhash_jax.retrieval.conventions import (
    CONVENTIONS,
    Convention,
    convention_cut,
    convention_mean,
    reproduce_map,
)
from drlhash_jax.retrieval.counting import (
    count_by_distance,
    count_relevant,
    hamming_distance,
    num_shared_labels,
    share_label,
)
from drlhash_jax.retrieval.curves import precision_at, precision_at_recall, radius_curve, recall_at
from drlhash_jax.retrieval.evaluate import evaluate, stable_map
from drlhash_jax.retrieval.gains import count_gains, discount_sums, ndcg_at
from drlhash_jax.retrieval.intervals import bootstrap_interval, mean_and_deviation
from drlhash_jax.retrieval.metrics import (
    mean_average_precision,
    ndcg_at_n,
    pack_rows,
    precision_at_n,
    precision_at_recall_levels,
    precision_by_radius,
    precision_recall_by_rank,
    precision_recall_curve,
    precision_within_radius,
    recall_at_n,
    retrieval_metrics,
    share_of_queries,
)
from drlhash_jax.retrieval.packing import pack_labels, pack_words
from drlhash_jax.retrieval.streaming import (
    RANKS,
    Means,
    QueryMetrics,
    RankedQueries,
    evaluate_queries,
    mean_over_counted,
    stable_queries,
)

__all__ = [
    "CONVENTIONS",
    "Collisions",
    "Convention",
    "Cut",
    "DENOMINATORS",
    "Means",
    "Occupancy",
    "QueryMetrics",
    "RANKS",
    "RankedQueries",
    "asymmetric_average_precision",
    "asymmetric_queries",
    "average_precision",
    "bit_balance",
    "bit_correlation",
    "bit_entropy",
    "bootstrap_interval",
    "check_evaluation",
    "collisions",
    "convention_cut",
    "convention_mean",
    "count_by_distance",
    "count_gains",
    "count_relevant",
    "count_unlabelled",
    "discount_sums",
    "evaluate",
    "evaluate_queries",
    "hamming_distance",
    "has_relevant",
    "mean_and_deviation",
    "mean_average_precision",
    "mean_over_counted",
    "mean_over_queries",
    "ndcg_at",
    "ndcg_at_n",
    "num_shared_labels",
    "occupancy",
    "pack_distinct",
    "pack_in_order",
    "pack_labels",
    "pack_rows",
    "pack_words",
    "precision_at",
    "precision_at_n",
    "precision_at_recall",
    "precision_at_recall_levels",
    "precision_by_radius",
    "precision_recall_by_rank",
    "precision_recall_curve",
    "precision_within_radius",
    "radius_curve",
    "recall_at",
    "recall_at_n",
    "reproduce_map",
    "retrieval_metrics",
    "share_label",
    "share_of_queries",
    "stable_map",
    "stable_queries",
]
