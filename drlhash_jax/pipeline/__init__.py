"""A whole run: load, hash, select, measure, write."""

from drlhash_jax.pipeline.load import load_run
from drlhash_jax.pipeline.train import train_and_evaluate

__all__ = ["load_run", "train_and_evaluate"]
