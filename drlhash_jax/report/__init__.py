"""What is shown of results: figures as PDF, PNG and the numbers behind them."""

from drlhash_jax.report.code_maps import bit_correlation, embed_codes, plot_bit_correlation, plot_tsne
from drlhash_jax.report.curves import (
    Level,
    Series,
    plot_learning,
    plot_map_bits,
    plot_precision_at_n,
    plot_precision_radius2,
    plot_precision_recall,
    plot_robustness,
)
from drlhash_jax.report.photos import Retrieval, choose_examples, plot_copies, plot_retrievals

__all__ = [
    "Level",
    "Retrieval",
    "Series",
    "bit_correlation",
    "choose_examples",
    "embed_codes",
    "plot_bit_correlation",
    "plot_copies",
    "plot_learning",
    "plot_map_bits",
    "plot_precision_at_n",
    "plot_precision_radius2",
    "plot_precision_recall",
    "plot_retrievals",
    "plot_robustness",
    "plot_tsne",
]
