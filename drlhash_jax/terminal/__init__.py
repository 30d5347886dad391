"""What a person sees while a command runs, and how the run is asked to stop: progress, signals, tables."""

from drlhash_jax.terminal.evaluation_tables import evaluation_tables, run_evaluation_tables
from drlhash_jax.terminal.progress import StageProgress, counted_progress, run_line
from drlhash_jax.terminal.results_table import (
    difference_lines,
    legend_lines,
    next_step_lines,
    print_table,
    results_table,
)
from drlhash_jax.terminal.signals import StopSignals

__all__ = [
    "StageProgress",
    "StopSignals",
    "counted_progress",
    "difference_lines",
    "evaluation_tables",
    "legend_lines",
    "next_step_lines",
    "print_table",
    "results_table",
    "run_evaluation_tables",
    "run_line",
]
