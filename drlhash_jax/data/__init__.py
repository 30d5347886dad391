"""Datasets by name and the protocols that split them."""

from drlhash_jax.data.benchmarks import data_file
from drlhash_jax.data.dataset import Dataset, DataSettings, check_dataset
from drlhash_jax.data.embeddings import read_array, split_address
from drlhash_jax.data.image_store import RowView, load_images, select_rows
from drlhash_jax.data.images import ImageSpec, Skipped, UnreadableImageError, decode_image
from drlhash_jax.data.protocols import CONFIGURED, PROTOCOLS, ProtocolSettings, Split, find_protocol, make_split, split_digest
from drlhash_jax.data.sources import SOURCES, SourceSettings, load_dataset

__all__ = [
    "CONFIGURED",
    "PROTOCOLS",
    "SOURCES",
    "DataSettings",
    "Dataset",
    "ImageSpec",
    "ProtocolSettings",
    "RowView",
    "Skipped",
    "SourceSettings",
    "Split",
    "UnreadableImageError",
    "check_dataset",
    "data_file",
    "decode_image",
    "find_protocol",
    "load_dataset",
    "load_images",
    "make_split",
    "read_array",
    "select_rows",
    "split_address",
    "split_digest",
]
