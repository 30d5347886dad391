"""Copies among the images of a bundle: by its codes or by a perceptual hash, whichever a sample shows to be better."""

from drlhash_jax.copies.choice import shown
from drlhash_jax.copies.search import find_copies

__all__ = ["find_copies", "shown"]
