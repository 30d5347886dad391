"""Finished codes, ours or other software's, measured in every way at once, and the rows that a run ends with."""

from drlhash_jax.evaluation.definitions import EVALUATION_DEFINITIONS, ROBUSTNESS_DEFINITIONS, ROW_DEFINITIONS
from drlhash_jax.evaluation.files import CodeFiles, evaluate_files, evaluate_run
from drlhash_jax.evaluation.measure import Options
from drlhash_jax.evaluation.result_rows import (
    RunFacts,
    Task,
    metrics_content,
    result_row,
    selection_rows,
)

__all__ = [
    "EVALUATION_DEFINITIONS",
    "ROBUSTNESS_DEFINITIONS",
    "ROW_DEFINITIONS",
    "CodeFiles",
    "Options",
    "RunFacts",
    "Task",
    "evaluate_files",
    "evaluate_run",
    "metrics_content",
    "result_row",
    "selection_rows",
]
