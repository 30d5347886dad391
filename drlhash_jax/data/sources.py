"""Datasets by name: the index of everything that can be read."""

from collections.abc import Callable

from drlhash_jax.data.benchmarks import (
    load_cifar10,
    load_cifar10_features,
    load_coco_labels,
    load_coco_mini,
    load_coco_mini_features,
    load_digits,
    load_nuswide_labels,
)
from drlhash_jax.data.cifar import load_cifar10_binary, load_tfds_cifar10
from drlhash_jax.data.coco import load_coco
from drlhash_jax.data.dataset import Dataset, DataSettings, check_dataset
from drlhash_jax.data.embeddings import load_arrays, load_embeddings
from drlhash_jax.data.folder import load_folder
from drlhash_jax.data.idx import load_idx
from drlhash_jax.data.lists import load_csv, load_jsonl, load_lists
from drlhash_jax.data.nuswide import load_nuswide21, load_nuswide81
from drlhash_jax.errors import UserError
from drlhash_jax.settings import near

SOURCES: dict[str, Callable[[DataSettings], Dataset]] = {
    "arrays": load_arrays,
    "cifar10": load_cifar10,
    "cifar10_binary": load_cifar10_binary,
    "cifar10_features": load_cifar10_features,
    "coco": load_coco,
    "coco_labels": load_coco_labels,
    "coco_mini": load_coco_mini,
    "coco_mini_features": load_coco_mini_features,
    "csv": load_csv,
    "digits": load_digits,
    "embeddings": load_embeddings,
    "folder": load_folder,
    "idx": load_idx,
    "jsonl": load_jsonl,
    "lists": load_lists,
    "nuswide21": load_nuswide21,
    "nuswide81": load_nuswide81,
    "nuswide_labels": load_nuswide_labels,
    "tfds_cifar10": load_tfds_cifar10,
}


def load_dataset(source: str, path: str = "", **settings) -> Dataset:
    """Loads and checks a dataset.

    Args:
      source: a key of `SOURCES`.
      path: file or folder to read, for sources that need one.
      **settings: other fields of `DataSettings`.

    Returns:
      Dataset.

    Raises:
      UserError: no such source; see `DataSettings`, the source and `check_dataset`.
    """
    if source not in SOURCES:
        known = ", ".join(SOURCES)
        raise UserError(f"--config.data.source={source}: choose one of {known}{near(source, list(SOURCES))}")
    checked = DataSettings(path=path, **settings).checked("--config.data.")
    inputs_from = f"--config.data.path={path}" if path else ""
    labels_from = f"--config.data.labels_path={checked.labels_path}" if checked.labels_path else ""
    return check_dataset(SOURCES[source](checked), inputs_from, labels_from)
