"""The directory of a run: its stages, saved states, scalars, and the model that comes out of it."""

from drlhash_jax.runs.model_files import Model, flatten_params, load_model, save_model, unflatten_params
from drlhash_jax.runs.processes import any_process, from_first_process, in_first_process
from drlhash_jax.runs.stored_config import differing_fields, flatten_config
from drlhash_jax.runs.workdir import Workdir

__all__ = [
    "Model",
    "Workdir",
    "any_process",
    "differing_fields",
    "flatten_config",
    "flatten_params",
    "from_first_process",
    "in_first_process",
    "load_model",
    "save_model",
    "unflatten_params",
]
