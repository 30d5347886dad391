"""The directory of a run: its stages, saved states, scalars, and the model that comes out of it."""

from drlhash_jax.runs.lock import claim_directory, lock_directory, unlock_directory
from drlhash_jax.runs.model_files import ModelRecord, flatten_params, read_model, unflatten_params, write_model
from drlhash_jax.runs.models import Model, assemble_model, encode, load_model, real_codes, selected_bits
from drlhash_jax.runs.processes import any_process, from_first_process, in_first_process, is_first_process
from drlhash_jax.runs.stored_config import differing_fields, flatten_config
from drlhash_jax.runs.workdir import Workdir

__all__ = [
    "Model",
    "ModelRecord",
    "Workdir",
    "any_process",
    "assemble_model",
    "claim_directory",
    "differing_fields",
    "encode",
    "flatten_config",
    "flatten_params",
    "from_first_process",
    "in_first_process",
    "is_first_process",
    "load_model",
    "lock_directory",
    "read_model",
    "real_codes",
    "selected_bits",
    "unflatten_params",
    "unlock_directory",
    "write_model",
]
