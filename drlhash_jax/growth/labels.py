"""Labels of old and new rows in one numbering of the classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from drlhash_jax.errors import UserError


class Labels(NamedTuple):
    """Labels with the names of their classes.

    Attributes:
      rows: multi-hot uint8 ``[n, C]``.
      classes: names of the C classes.
      single: whether every row has one label.
    """

    rows: np.ndarray
    classes: tuple[str, ...]
    single: bool


def number_labels(labels: np.ndarray, classes: Sequence[str] = ()) -> Labels:
    """Labels of rows that come first.

    Args:
      labels: class numbers ``[n]``, negative for none, or multi-hot ``[n, C]``.
      classes: names of the classes; those of numbers are the numbers.
    """
    if labels.ndim == 2:
        return Labels((labels != 0).astype(np.uint8), tuple(classes) or _numbers(labels.shape[1]), False)
    names = tuple(classes) or _numbers(int(labels.max(initial=-1)) + 1)
    return Labels((labels[:, None] == np.arange(len(names))).astype(np.uint8), names, True)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def join_labels(known: Labels, labels: np.ndarray, classes: Sequence[str], flag: str) -> Labels:
    """Labels of new rows in the numbering of old ones; classes that are new come after those.

    Args:
      known: Labels of the old rows.
      labels: of the new ones, as in `number_labels`.
      classes: their names, of a folder; empty for numbers.
      flag: where they come from, for messages.

    Raises:
      UserError: a row without a label, a class without rows, or labels of another kind than the old ones.
    """
    if known.single != (labels.ndim == 1):
        kinds = ["several labels a row, 0 and 1 [N, C]", "one label a row"]
        raise UserError(f"{flag}: {kinds[labels.ndim == 1]}; those of the old rows are {kinds[known.single]}")
    if labels.ndim == 2:
        return _join_multi_hot(known, labels, flag)
    if (labels < 0).any():
        raise UserError(f"{flag}: row {int(np.argmax(labels < 0))} has no label; leave it out")
    found, numbers = np.unique(labels, return_inverse=True)
    are_numbers = all(name.isdigit() for name in known.classes)
    if not classes and not are_numbers:
        raise UserError(f"{flag}: the labels are numbers; the classes of the old rows are {_shown(known.classes)}")
    if classes and are_numbers and not all(name.isdigit() for name in classes):
        raise UserError(f"{flag}: classes {_shown(classes)}; those of the old rows are {_shown(known.classes)}")
    names = [classes[number] if classes else str(number) for number in found.tolist()]
    joined = known.classes + tuple(name for name in names if name not in known.classes)
    places = np.array([joined.index(name) for name in names])[numbers]
    return Labels((places[:, None] == np.arange(len(joined))).astype(np.uint8), joined, True)


def _join_multi_hot(known: Labels, labels: np.ndarray, flag: str) -> Labels:
    rows, old = (labels != 0).astype(np.uint8), len(known.classes)
    if rows.shape[1] < old:
        raise UserError(f"{flag}: {rows.shape[1]} columns; the old rows have {old} classes, and new ones come after")
    if not rows.any(axis=1).all():
        raise UserError(f"{flag}: row {int(np.argmin(rows.any(axis=1)))} has no label; leave it out")
    if not rows[:, old:].any(axis=0).all():
        empty = old + int(np.argmin(rows[:, old:].any(axis=0)))
        raise UserError(f"{flag}: no row has the new class of column {empty}; a new class needs rows")
    return Labels(rows, known.classes + tuple(map(str, range(old, rows.shape[1]))), False)
