"""Datasets by name and the protocols that split them."""

from drlhash_jax.data.protocols import CONFIGURED, PROTOCOLS, Split, find_protocol, make_split, split_digest
from drlhash_jax.data.sources import SOURCES, Dataset, check_dataset, load_dataset

__all__ = [
    "CONFIGURED",
    "PROTOCOLS",
    "SOURCES",
    "Dataset",
    "Split",
    "check_dataset",
    "find_protocol",
    "load_dataset",
    "make_split",
    "split_digest",
]
