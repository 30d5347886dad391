"""What every source returns, and the checks that any data must pass."""

import dataclasses
from typing import NamedTuple

import numpy as np

from drlhash_jax.data.images import ImageSpec, Skipped
from drlhash_jax.settings import Settings, setting
from drlhash_jax.errors import UserError

_ROWS_A_CHECK = 65_536
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


class Dataset(NamedTuple):
    """A dataset in memory, or mapped from a file.

    Attributes:
      name: as it appears in results.
      inputs: uint8 images ``[N, H, W, channels]`` or float32 features ``[N, D]``; None if only labels are known.
      labels: int32 ``[N]``, or uint8 multi-hot ``[N, C]``.
      lists: published splits, name of the protocol -> (query, train, database) row numbers.
      paths: name of every row's file, ``N`` of them; empty where rows are not files.
      classes: name of every class; empty where classes are numbers.
      skipped: what was left out, and why.
      image_spec: how image files were decoded; None where inputs are not decoded files.
    """

    name: str
    inputs: np.ndarray | None
    labels: np.ndarray
    lists: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    paths: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    image_spec: ImageSpec | None = None


def needed_path(settings: DataSettings, source: str, what: str) -> str:
    """The configured path.

    Raises:
      UserError: there is none; the message tells what the source reads.
    """
    if not settings.path:
        raise UserError(f"data.source={source} needs data.path: {what}")
    return settings.path


def _check_labels(name: str, labels: np.ndarray) -> np.ndarray:
    """Labels as int32 ``[N]`` or uint8 ``[N, C]``."""
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub":
        raise UserError(f"{name}: labels are {labels.dtype} {labels.shape}; give integers [N] or multi-hot rows [N, C]")
    if labels.ndim == 2 and not np.isin(labels, (0, 1)).all():
        raise UserError(f"{name}: multi-hot labels hold values other than 0 and 1")
    if labels.ndim == 1 and labels.dtype.kind != "b" and labels.size:
        extreme = max(int(labels.max()), -int(labels.min()))
        if extreme >= 2**31:
            raise UserError(f"{name}: labels reach {extreme}; number the classes from 0")
    num_classes = int((labels != 0).any(axis=0).sum()) if labels.ndim == 2 else len(np.unique(labels[labels >= 0]))
    if num_classes < 2:
        raise UserError(f"{name}: {num_classes} class in the labels; hashing by labels needs at least 2")
    return labels.astype(np.int32 if labels.ndim == 1 else np.uint8)


def _check_finite(name: str, features: np.ndarray) -> None:
    """Refuses rows of NaN or infinity, a piece of the file at a time."""
    bad_rows = np.concatenate(
        [
            start + np.flatnonzero(~np.isfinite(features[start : start + _ROWS_A_CHECK]).all(axis=1))
            for start in range(0, len(features), _ROWS_A_CHECK)
        ]
    )
    if len(bad_rows):
        listed = ", ".join(map(str, bad_rows[:_NAMED_ROWS])) + (", ..." if len(bad_rows) > _NAMED_ROWS else "")
        raise UserError(f"{name}: features of {len(bad_rows)} rows hold NaN or infinity: row {listed}")


def check_dataset(dataset: Dataset) -> Dataset:
    """Refuses data that no stage could work with, and brings dtypes to their stored form.

    Args:
      dataset: as loaded.

    Returns:
      The dataset with inputs uint8 or float32 and labels int32 or uint8. float32 inputs stay where they are, on disk
      too.

    Raises:
      UserError: wrong shapes or types, NaN, rows that do not match, fewer than two classes.
    """
    name, inputs = dataset.name, dataset.inputs
    labels = _check_labels(name, dataset.labels)
    if inputs is None:
        return dataset._replace(labels=labels)
    is_images = inputs.ndim == 4 and inputs.dtype == np.uint8
    if not is_images and (inputs.ndim != 2 or inputs.dtype.kind not in "fiu"):
        raise UserError(
            f"{name}: inputs are {inputs.dtype} {inputs.shape}; "
            "give features [N, D] or uint8 images [N, H, W, channels]"
        )
    if len(inputs) != len(labels):
        raise UserError(f"{name}: {len(inputs)} rows of inputs but {len(labels)} rows of labels")
    if not is_images:
        inputs = inputs.astype(np.float32, copy=False)
        _check_finite(name, inputs)
    return dataset._replace(inputs=inputs, labels=labels)
