"""What a run says and writes down about its data: notices for people, and digests that show when data have changed."""

import hashlib

import numpy as np

from drlhash_jax.codes import count_unlabelled
from drlhash_jax.data.dataset import Dataset
from drlhash_jax.data.digests import array_digest

_NAMED_CLASSES = 5


def input_digest(dataset: Dataset) -> dict[str, str]:
    """Digests of everything in a dataset that numbers depend on.

    They cover what was read and not how: the same pixels give the same digest from memory and from a cache, and dates
    of files do not count. Image files count by the pixels that they were decoded to, and lists by the labels and the
    order of rows that they gave. Of images in `data.cache` the digest was taken when the cache was written; other
    arrays are read whole, about 1 GB per second.

    Args:
      dataset: as `check_dataset` returns it.

    Returns:
      "inputs" (where there are any), "labels", and "lists/NAME" for each published split -> SHA-256.
    """
    found = {}
    if dataset.inputs is not None:
        found["inputs"] = dataset.inputs_digest or array_digest(dataset.inputs)
    found["labels"] = array_digest(dataset.labels)
    for name, parts in dataset.lists.items():
        digests = [array_digest(np.asarray(part, np.int64)) for part in parts]
        found[f"lists/{name}"] = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return found


def _unlabelled_notice(labels: np.ndarray) -> list[str]:
    count = count_unlabelled(labels)
    if not count:
        return []
    why = "their class number is negative" if labels.ndim == 1 else "all their flags are 0"
    return [f"{count} of {len(labels)} rows have no label ({why}): no row counts as relevant to them."]


def _skipped_notice(dataset: Dataset) -> list[str]:
    if not dataset.skipped:
        return []
    count, first = len(dataset.skipped), dataset.skipped[0]
    left_out = "1 file was left out" if count == 1 else f"{count} files were left out, the first"
    return [f"{left_out}: {first.path} ({first.reason}); see skipped.jsonl."]


def _empty_classes_notice(dataset: Dataset) -> list[str]:
    labels = dataset.labels
    if labels.ndim == 2:
        present = labels.any(axis=0)
    else:
        present = np.bincount(labels[labels >= 0], minlength=len(dataset.classes)) > 0
    empty = np.flatnonzero(~present)
    if not len(empty):
        return []
    name = lambda number: dataset.classes[number] if dataset.classes else f"column {number + 1}"
    named = ", ".join(map(name, empty[:_NAMED_CLASSES])) + (", ..." if len(empty) > _NAMED_CLASSES else "")
    has = "1 class has" if len(empty) == 1 else f"{len(empty)} of {len(present)} classes have"
    return [f"{has} no rows: {named}."]


def notices(dataset: Dataset) -> list[str]:
    """What somebody should know about the data before a run uses them, a line each; [] if nothing is out of order.

    Args:
      dataset: as `check_dataset` returns it.
    """
    return _unlabelled_notice(dataset.labels) + _skipped_notice(dataset) + _empty_classes_notice(dataset)
