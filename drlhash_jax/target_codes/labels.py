"""Label sets: rows with equal labels share their row of the similarity matrix (host side, NumPy)."""

from typing import NamedTuple

import numpy as np


class LabelSets(NamedTuple):
    """The distinct label sets of a training set, and which row has which.

    Attributes:
      members: int32 ``[n]``, number of each row's label set.
      sets: float32 ``[G, C]`` multi-hot, the distinct sets; a row of zeros is the empty set. For integer labels, only
        the classes that occur have a column.
      disjoint: whether no two sets share a label, as when every row has one label.
    """

    members: np.ndarray
    sets: np.ndarray
    disjoint: bool


def to_multi_hot(labels: np.ndarray) -> np.ndarray:
    """Multi-hot uint8 ``[N, C]`` from integer labels ``[N]`` (negative: no label) or multi-hot ones."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return (labels != 0).astype(np.uint8)
    multi_hot = np.zeros((len(labels), int(labels.max(initial=0)) + 1), np.uint8)
    labelled = np.flatnonzero(labels >= 0)
    multi_hot[labelled, labels[labelled]] = 1
    return multi_hot


def find_label_sets(labels: np.ndarray) -> LabelSets:
    """Finds the distinct label sets.

    Args:
      labels: integer ``[n]`` (negative: no label) or multi-hot ``[n, C]``.

    Returns:
      LabelSets.
    """
    labels = np.asarray(labels)
    if labels.ndim == 1:
        values, members = np.unique(np.maximum(labels.astype(np.int64), -1), return_inverse=True)
        # Only classes that occur get a column: a class number of a billion costs nothing.
        sets = np.eye(len(values), dtype=np.float32)[:, values >= 0]
        return LabelSets(members.astype(np.int32), sets, True)
    packed = np.ascontiguousarray(np.packbits(labels != 0, axis=1))
    _, first, members = np.unique(packed.view(f"V{packed.shape[1]}"), return_index=True, return_inverse=True)
    sets = (labels[first] != 0).astype(np.float32)
    return LabelSets(members.reshape(-1).astype(np.int32), sets, bool((sets.sum(axis=0) <= 1).all()))
