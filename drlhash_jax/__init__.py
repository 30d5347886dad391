"""Supervised deep hashing in JAX: labels -> target codes -> encoder -> selected bits -> retrieval numbers."""

__version__ = "0.1.0"
