"""Files and screens: a run's directory, codes and models on disk, progress and tables."""

from drlhash_jax.io.code_files import load_codes, save_codes
from drlhash_jax.io.files import read_arrays, sha256_of, write_arrays, write_json, write_json_lines
from drlhash_jax.io.model_files import Model, flatten_params, load_model, save_model, unflatten_params
from drlhash_jax.io.progress import StageProgress
from drlhash_jax.io.signals import StopSignals
from drlhash_jax.io.table import print_table, results_table
from drlhash_jax.io.weight_files import find_weights, read_weights
from drlhash_jax.io.workdir import Workdir

__all__ = [
    "Model",
    "StageProgress",
    "StopSignals",
    "Workdir",
    "find_weights",
    "flatten_params",
    "load_codes",
    "load_model",
    "print_table",
    "read_arrays",
    "read_weights",
    "results_table",
    "save_codes",
    "save_model",
    "sha256_of",
    "unflatten_params",
    "write_arrays",
    "write_json",
    "write_json_lines",
]
