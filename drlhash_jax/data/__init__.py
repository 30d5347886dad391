"""Datasets by name and the protocols that split them."""

from drlhash_jax.data.benchmarks import data_file
from drlhash_jax.data.dataset import Dataset, DataSettings
from drlhash_jax.data.embeddings import read_array, split_address
from drlhash_jax.data.facts import input_digest, notices
from drlhash_jax.data.folder import find_files
from drlhash_jax.data.frozen import FrozenRows, read_frozen_rows
from drlhash_jax.data.image_store import load_images
from drlhash_jax.data.images import IMAGE_SUFFIXES, ImageSpec, Skipped, UnreadableImageError, decode_image
from drlhash_jax.data.npz_files import check_unfolding
from drlhash_jax.data.paths import regular_file
from drlhash_jax.data.protocols import (
    CONFIGURED,
    PROTOCOLS,
    ProtocolSettings,
    Split,
    find_protocol,
    make_split,
    query_labels,
    split_digest,
    validation_split,
)
from drlhash_jax.data.row_view import select_rows
from drlhash_jax.data.sources import SOURCES, load_dataset
from drlhash_jax.data.videos import VIDEO_SUFFIXES, Frame, sample_frames

__all__ = [
    "CONFIGURED",
    "IMAGE_SUFFIXES",
    "PROTOCOLS",
    "SOURCES",
    "VIDEO_SUFFIXES",
    "DataSettings",
    "Dataset",
    "Frame",
    "FrozenRows",
    "ImageSpec",
    "ProtocolSettings",
    "Skipped",
    "Split",
    "UnreadableImageError",
    "check_unfolding",
    "data_file",
    "decode_image",
    "find_files",
    "find_protocol",
    "input_digest",
    "load_dataset",
    "load_images",
    "make_split",
    "notices",
    "query_labels",
    "read_array",
    "read_frozen_rows",
    "regular_file",
    "sample_frames",
    "select_rows",
    "split_address",
    "split_digest",
    "validation_split",
]
