"""Datasets by name: the index of everything that can be read."""

import dataclasses
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
from drlhash_jax.settings import Settings, setting

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


@dataclasses.dataclass(frozen=True)
class SourceSettings(Settings):
    """Which dataset; part of `config.data`."""

    source: str = setting("digits", "dataset, or the layout of your own, see drlhash_jax/data/sources.py", choices=tuple(SOURCES))


def load_dataset(settings: DataSettings) -> Dataset:
    """Loads and checks a dataset.

    Args:
      settings: DataSettings that are SourceSettings as well.

    Returns:
      Dataset.

    Raises:
      UserError: see `check_dataset` and the source.
    """
    return check_dataset(SOURCES[settings.source](settings))
