"""Sizes of a run on data that nobody has tuned it for, chosen from the number of rows and classes.

`fitting/own_data.py` uses them, for `fit` and for `configs/own_*.py`. The rules come from the settings that work on
scikit-learn's digits (200 training rows), 350 MS-COCO photographs and CIFAR-10 (5,000 training rows).
"""

import os
from pathlib import Path
from typing import NamedTuple

from drlhash_jax.data.images import IMAGE_SUFFIXES
from drlhash_jax.errors import UserError

_LEAST_ROWS = 20
_MOST_QUERIES = 1_000


class Effort(NamedTuple):
    """What an encoder needs, and how much of it a first run should spend.

    Attributes:
      train: most training rows, unless there are so many classes that each would have fewer than 20.
      batch_size: most rows per step.
      steps: steps of one training that are aimed at.
      epochs: fewest and most epochs of one training, whatever the steps.
      many_rows: from so many training rows on two folds have to do, since every fold trains an encoder.
    """

    train: int
    batch_size: int
    steps: int
    epochs: tuple[int, int]
    many_rows: int


# Features; images and a network from scratch; images and a published network of which the last layer is trained.
FEATURES = Effort(train=20_000, batch_size=128, steps=800, epochs=(10, 40), many_rows=20_001)
SCRATCH = Effort(train=5_000, batch_size=64, steps=2_400, epochs=(10, 40), many_rows=1_000)
PUBLISHED = Effort(train=2_000, batch_size=64, steps=200, epochs=(4, 8), many_rows=100)


class Sizes(NamedTuple):
    """Sizes of a run; the database is every row that is neither query nor training row.

    Attributes:
      query: query rows in all.
      train: training rows in all.
      reward_queries: training rows that act as queries of the reward.
      num_folds: encoders fitted for out-of-fold codes.
      batch_size: rows per step, a power of 2, so that devices can share them.
      num_epochs: passes over the training rows.
    """

    query: int
    train: int
    reward_queries: int
    num_folds: int
    batch_size: int
    num_epochs: int


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


def choose_sizes(num_rows: int, num_classes: int, effort: Effort) -> Sizes:
    """Sizes for a number of rows and classes.

    A tenth of the rows are queries: at least 50, and two per class, while that is at most a fifth; 1,000 at most. Up to
    half of the rows are trained on.

    Args:
      num_rows: rows, those without a label included.
      num_classes: classes or label columns.
      effort: what the encoder needs.

    Raises:
      UserError: there are fewer than 20 rows.
    """
    if num_rows < _LEAST_ROWS:
        raise UserError(f"{num_rows} rows are too few to learn from, search and test: bring at least {_LEAST_ROWS}")
    least_queries = min(max(50, 2 * num_classes), num_rows // 5, _MOST_QUERIES)
    query = _between(least_queries, num_rows // 10, _MOST_QUERIES)
    train = min(num_rows // 2, max(effort.train, 20 * num_classes))
    # A power of 2 that makes about eight steps or more of an epoch.
    batch_size = _between(8, 1 << (train // 8).bit_length() - 1, effort.batch_size)
    return Sizes(
        query=query,
        train=train,
        reward_queries=_between(1, train // 4, _MOST_QUERIES),
        num_folds=2 if train >= effort.many_rows else 5,
        batch_size=batch_size,
        num_epochs=_between(effort.epochs[0], effort.steps * batch_size // train, effort.epochs[1]),
    )


def count_images(folder: str) -> list[int]:
    """Number of image files of every class folder, by their names alone; none is opened.

    Args:
      folder: a folder with one sub-folder of images for every class.

    Raises:
      UserError: there is no such folder, or no sub-folder.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder")
    classes = [entry.path for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    if not classes:
        raise UserError(f"{folder} has no sub-folders: needs one of images for every class")
    is_image = lambda name: name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
    return [sum(is_image(name) for _, _, names in os.walk(each) for name in names) for each in sorted(classes)]


def split_addresses(text: str) -> tuple[str, str]:
    """Addresses of features and labels, as `read_array` takes them.

    Args:
      text: "FEATURES,LABELS", or "FILE.npz" or "FILE.safetensors" for a file with the keys features and labels.

    Raises:
      UserError: it is neither.
    """
    parts = text.split(",")
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1]
    if len(parts) == 1 and text.endswith((".npz", ".safetensors")):
        return f"{text}:features", f"{text}:labels"
    raise UserError(
        "give the features and the labels, as in :features.npy,labels.npy or :data.npz:x,data.npz:y, "
        "or one FILE.npz with the keys features and labels"
    )
