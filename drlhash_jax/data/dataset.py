"""What every source returns, and the checks that any data must pass."""

import dataclasses
from typing import NamedTuple, Self

import numpy as np

from drlhash_jax.data.images import ImageSpec, Skipped
from drlhash_jax.data.paths import path_problem, shown_path
from drlhash_jax.data.row_view import row_pieces
from drlhash_jax.errors import UserError
from drlhash_jax.settings import Settings, setting

_NAMED_ROWS = 10


@dataclasses.dataclass(frozen=True)
class DataSettings(Settings):
    """Where a source finds its files and how it reads images; part of `config.data`."""

    path: str = setting("", "file or folder to read, for sources that are yours to bring; FILE:KEY for embeddings")
    labels_path: str = setting("", "file of labels, for source embeddings")
    image_size: int = setting(
        224, "side in pixels that image files are decoded to: central square, antialiased bilinear", least=1, most=4_096
    )
    cache: str = setting("", "file (.npy) that keeps decoded images on disk; empty for memory, up to 4 GiB")
    num_workers: int = setting(0, "processes that decode images; 0 decodes in the main process", least=0, most=1_024)
    max_skipped: float = setting(
        0.05, "share of image files that may be missing or broken; skipped.jsonl lists them", least=0.0, most=1.0
    )
    allow_empty_class: bool = setting(False, "whether a class folder may hold no image, for source folder")

    def checked(self, prefix: str = "") -> Self:
        """See `Settings.checked`; also refuses paths that no file can have, and a cache that is not named .npy."""
        super().checked(prefix)
        for field in ("path", "labels_path", "cache"):
            path = getattr(self, field)
            if problem := path_problem(path):
                raise UserError(f"{prefix}{field}={shown_path(path)} cannot be a path: {problem}")
        if self.cache and not self.cache.endswith(".npy"):
            raise UserError(f"{prefix}cache={self.cache}: the name must end in .npy")
        return self


class Dataset(NamedTuple):
    """A dataset in memory, or mapped from a file.

    Attributes:
      name: as it appears in results.
      inputs: uint8 images ``[N, H, W, channels]``, or float16 or float32 features ``[N, D]``; None if only labels are
        known.
      labels: int32 ``[N]``, or uint8 multi-hot ``[N, C]``.
      lists: published splits, name of the protocol -> (query, train, database) row numbers.
      paths: name of every row's file, ``N`` of them; empty where rows are not files.
      classes: name of every class; empty where classes are the numbers from 0.
      skipped: what was left out, and why.
      image_spec: how image files were decoded; None where inputs are not decoded files.
      inputs_digest: what `array_digest` gives of the inputs, where it is known without reading them; "" otherwise.
    """

    name: str
    inputs: np.ndarray | None
    labels: np.ndarray
    lists: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    paths: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    image_spec: ImageSpec | None = None
    inputs_digest: str = ""


def needed_path(settings: DataSettings, source: str, what: str) -> str:
    """The configured path.

    Raises:
      UserError: there is none; the message tells what the source reads.
    """
    if not settings.path:
        raise UserError(f"--config.data.source={source} needs --config.data.path: {what}")
    return settings.path


def _number_classes(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers of any integer type as int32 ``[N]`` from 0 to C - 1, and their names where they were others.

    The order of the classes stays, and every negative number becomes -1. A plain cast would wrap large numbers.
    """
    found, numbers = np.unique(labels, return_inverse=True)
    num_negative = int(np.count_nonzero(found < 0))
    numbers = np.maximum(numbers - num_negative, -1).astype(np.int32)
    found = found[num_negative:]
    in_order = np.array_equal(found, np.arange(len(found)))
    return numbers, () if in_order else tuple(map(str, found.tolist()))


def _check_labels(dataset: Dataset, where: str) -> Dataset:
    """The dataset with labels as int32 ``[N]`` or uint8 ``[N, C]``."""
    labels, classes = dataset.labels, dataset.classes
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub":
        raise UserError(
            f"{where}: labels are {labels.dtype} {labels.shape}; give integers [N] or multi-hot rows [N, C]"
        )
    if labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            hint = "; give class numbers as one axis [N]" if labels.shape[1] == 1 else ""
            raise UserError(f"{where}: multi-hot labels hold values other than 0 and 1{hint}")
        num_classes = int((labels != 0).any(axis=0).sum())
        labels = labels.astype(np.uint8)
    else:
        num_classes = len(np.unique(labels[labels >= 0]))
        # Numbers of named classes are places in the list of names.
        labels, classes = (np.maximum(labels, -1).astype(np.int32), classes) if classes else _number_classes(labels)
    if num_classes < 2:
        held = "1 class" if num_classes == 1 else f"{num_classes} classes"
        raise UserError(f"{where}: the labels hold {held}; hashing by labels needs at least 2")
    return dataset._replace(labels=labels, classes=classes)


def _check_finite(where: str, features: np.ndarray) -> None:
    """Refuses rows of NaN or infinity."""
    bad_rows = np.concatenate(
        [start + np.flatnonzero(~np.isfinite(piece).all(axis=1)) for start, piece in row_pieces(features)]
    )
    if len(bad_rows):
        listed = ", ".join(map(str, bad_rows[:_NAMED_ROWS])) + (", ..." if len(bad_rows) > _NAMED_ROWS else "")
        count = "1 row" if len(bad_rows) == 1 else f"{len(bad_rows)} rows"
        raise UserError(f"{where}: NaN or infinity in the features of {count}: row {listed}; mend or leave them out")


def _check_inputs(inputs: np.ndarray, where: str) -> np.ndarray:
    """uint8 images, or features as float16 or float32."""
    is_images = inputs.ndim == 4 and inputs.dtype == np.uint8
    if not is_images and (inputs.ndim != 2 or inputs.dtype.kind not in "fiu"):
        raise UserError(
            f"{where}: inputs are {inputs.dtype} {inputs.shape}; "
            "give features [N, D] or uint8 images [N, H, W, channels]"
        )
    if 0 in inputs.shape[1:]:
        raise UserError(f"{where}: inputs have the shape {inputs.shape}, no value per row; was the wrong array saved?")
    if is_images:
        return inputs
    if inputs.dtype not in (np.float16, np.float32):
        # What is too large for float32 becomes infinite, which the check below names.
        with np.errstate(over="ignore"):
            inputs = inputs.astype(np.float32)
    _check_finite(where, inputs)
    return inputs


def check_dataset(dataset: Dataset, inputs_from: str = "", labels_from: str = "") -> Dataset:
    """Refuses data that no stage could work with, and brings dtypes to their stored form.

    Args:
      dataset: as loaded.
      inputs_from: where the inputs come from, for messages; the dataset's name if it is not given.
      labels_from: where the labels come from; `inputs_from` if it is not given.

    Returns:
      The dataset with inputs uint8, float16 or float32. These types stay where they are, on disk too; other numbers
      become float32 in memory. Labels are int32, classes from 0 and -1 for none, or uint8.

    Raises:
      UserError: wrong shapes or types, NaN, rows that do not match, fewer than two classes.
    """
    inputs_from = inputs_from or dataset.name
    labels_from = labels_from or inputs_from
    dataset = _check_labels(dataset, labels_from)
    if dataset.inputs is None:
        return dataset
    inputs, num_labels = dataset.inputs, len(dataset.labels)
    if inputs.ndim and len(inputs) != num_labels:
        other = "" if labels_from == inputs_from else f" in {labels_from}"
        raise UserError(
            f"{inputs_from}: {len(inputs)} rows of inputs, but {num_labels} rows of labels{other}: give one per input"
        )
    return dataset._replace(inputs=_check_inputs(inputs, inputs_from))
