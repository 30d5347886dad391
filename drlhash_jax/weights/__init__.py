"""Readers of published weights, without the software that wrote them."""

from drlhash_jax.weights.weight_files import find_weights, read_weights

__all__ = ["find_weights", "read_weights"]
