"""Finished codes, ours or other software's, measured in every way at once."""

from drlhash_jax.codes.code_arrays import CodeArray, check_together, read_codes, read_labels
from drlhash_jax.evaluation.definitions import DEFINITIONS
from drlhash_jax.evaluation.files import CodeFiles, evaluate_files, evaluate_run
from drlhash_jax.evaluation.measure import Options, check_options, measure_codes
from drlhash_jax.evaluation.summary import summarise_health

__all__ = [
    "DEFINITIONS",
    "CodeArray",
    "CodeFiles",
    "Options",
    "check_options",
    "check_together",
    "evaluate_files",
    "evaluate_run",
    "measure_codes",
    "read_codes",
    "read_labels",
    "summarise_health",
]
