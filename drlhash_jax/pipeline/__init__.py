"""A whole run: load, hash, select, measure, write."""

from drlhash_jax.pipeline.train import train_and_evaluate

__all__ = ["train_and_evaluate"]
