"""Files and screens: a run's directory, codes and models on disk, progress and tables."""

from drlhash_jax.io.code_files import load_codes, read_code_facts, save_codes
from drlhash_jax.io.evaluation_tables import evaluation_tables, run_evaluation_tables
from drlhash_jax.io.files import read_arrays, sha256_of, write_arrays, write_json, write_json_lines
from drlhash_jax.io.lock import lock_directory, unlock_directory
from drlhash_jax.io.model_files import Model, flatten_params, load_model, save_model, unflatten_params
from drlhash_jax.io.progress import StageProgress
from drlhash_jax.io.signals import StopSignals
from drlhash_jax.io.stored_config import flatten_config
from drlhash_jax.io.table import print_table, results_table
from drlhash_jax.io.weight_files import find_weights, read_weights
from drlhash_jax.io.workdir import Workdir

__all__ = [
    "Model",
    "StageProgress",
    "StopSignals",
    "Workdir",
    "evaluation_tables",
    "find_weights",
    "flatten_config",
    "flatten_params",
    "load_codes",
    "load_model",
    "lock_directory",
    "print_table",
    "read_arrays",
    "read_code_facts",
    "read_weights",
    "results_table",
    "run_evaluation_tables",
    "save_codes",
    "save_model",
    "sha256_of",
    "unflatten_params",
    "unlock_directory",
    "write_arrays",
    "write_json",
    "write_json_lines",
]
