"""A bundle to look at: pages of thumbnails and codes that are searched in the browser. Loads no JAX."""

from drlhash_jax.explore.neighbours import write_neighbours
from drlhash_jax.explore.page import MOST_ROWS, write_explorer

__all__ = ["MOST_ROWS", "write_explorer", "write_neighbours"]
