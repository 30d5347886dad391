"""Figures from plain numbers, each as PDF, PNG, PNG for dark screens, and CSV; nothing here knows what a run is."""

from drlhash_jax.figures.code_maps import plot_bit_correlation, plot_tsne
from drlhash_jax.figures.curves import (
    Level,
    Series,
    plot_learning,
    plot_map_bits,
    plot_precision_at_n,
    plot_precision_radius2,
    plot_precision_recall,
    plot_robustness,
)
from drlhash_jax.figures.photo_grid import Retrieval, choose_examples, plot_retrievals
from drlhash_jax.figures.points import Point, plot_reward_map
from drlhash_jax.figures.style import FigureFiles, check_matplotlib, write_csv

__all__ = [
    "FigureFiles",
    "Level",
    "Point",
    "Retrieval",
    "Series",
    "check_matplotlib",
    "choose_examples",
    "plot_bit_correlation",
    "plot_learning",
    "plot_map_bits",
    "plot_precision_at_n",
    "plot_precision_radius2",
    "plot_precision_recall",
    "plot_retrievals",
    "plot_reward_map",
    "plot_robustness",
    "plot_tsne",
    "write_csv",
]
