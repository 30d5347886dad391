"""The measuring room: Hamming distances, tie-aware average precision, curves. Reward and report share it."""

from drlhash_jax.retrieval.arguments import Arguments, accept
from drlhash_jax.retrieval.asymmetric import asymmetric_queries
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
from drlhash_jax.retrieval.counting import count_by_distance
from drlhash_jax.retrieval.curves import precision_at, radius_curve
from drlhash_jax.retrieval.evaluate import evaluate, query_precisions, stable_map
from drlhash_jax.retrieval.intervals import bootstrap_interval
from drlhash_jax.retrieval.metrics import (
    mean_average_precision,
    ndcg_at_n,
    precision_at_n,
    precision_at_recall_levels,
    precision_by_radius,
    precision_recall_by_rank,
    precision_recall_curve,
    precision_within_radius,
    recall_at_n,
    share_of_queries,
)
from drlhash_jax.retrieval.packing import pack_words
from drlhash_jax.retrieval.scores import score_queries
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
    "Arguments",
    "CONVENTIONS",
    "Convention",
    "Cut",
    "DENOMINATORS",
    "Means",
    "QueryMetrics",
    "RANKS",
    "RankedQueries",
    "accept",
    "asymmetric_queries",
    "average_precision",
    "bootstrap_interval",
    "convention_cut",
    "convention_mean",
    "count_by_distance",
    "evaluate",
    "evaluate_queries",
    "has_relevant",
    "mean_average_precision",
    "mean_over_counted",
    "mean_over_queries",
    "ndcg_at_n",
    "pack_words",
    "precision_at",
    "precision_at_n",
    "precision_at_recall_levels",
    "precision_by_radius",
    "precision_recall_by_rank",
    "precision_recall_curve",
    "precision_within_radius",
    "query_precisions",
    "radius_curve",
    "recall_at_n",
    "reproduce_map",
    "score_queries",
    "share_of_queries",
    "stable_map",
    "stable_queries",
]
