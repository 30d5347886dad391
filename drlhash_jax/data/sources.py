"""Datasets by name: inputs and labels as stored, before any split."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.types import UserError

# The shared benchmark files are looked up here; see the README for what they hold.
DATA_VARIABLE = "DRLHASH_DATA"
DATA_DEFAULT = "../shared/data"


class Dataset(NamedTuple):
    """A dataset in memory.

    Attributes:
      name: as it appears in results.
      inputs: uint8 images ``[N, H, W, channels]`` or float32 features ``[N, D]``; None if only labels are known.
      labels: int32 ``[N]``, or uint8 multi-hot ``[N, C]``.
      lists: published splits, name of the protocol -> (query, train, database) row numbers.
    """

    name: str
    inputs: np.ndarray | None
    labels: np.ndarray
    lists: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}


def data_file(name: str) -> Path:
    """Path of a shared benchmark file.

    Raises:
      UserError: it is not there.
    """
    folder = Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT))
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} not found: set {DATA_VARIABLE} to the folder that holds {name}")
    return path


def load_digits(path: str) -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, shipped inside its wheel."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    # 17 grey levels, spread over the range of a byte.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Dataset("digits", images[..., None], digits.target.astype(np.int32))


def load_cifar10_features(path: str) -> Dataset:
    """CIFAR-10 embeddings of an ImageNet-pretrained EfficientNet-Lite0 at 128 px, reduced to 256 dimensions."""
    with np.load(data_file("cifar10_effnetlite0_pca256.npz"), allow_pickle=False) as arrays:
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int32)
        return Dataset("cifar10_features", arrays["features"].astype(np.float32), labels)


def load_cifar10(path: str) -> Dataset:
    """CIFAR-10 pixels after JPEG compression at quality 75, in the official order."""
    from PIL import Image

    with np.load(data_file("cifar10_jpeg75_packed.npz"), allow_pickle=False) as arrays:
        header, scan, offsets = (arrays[key] for key in ("jpeg_header", "scan", "offsets"))
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int32)
    header, scan = header.tobytes(), scan.tobytes()
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    for row in range(len(labels)):
        data = header + scan[offsets[row] : offsets[row + 1]] + b"\xff\xd9"
        images[row] = Image.open(io.BytesIO(data), formats=["JPEG"])
    return Dataset("cifar10_jpeg75", images, labels)


def load_coco_mini_features(path: str) -> Dataset:
    """EfficientNet-Lite0 embeddings (1,280 dimensions) of 350 MS-COCO photographs with their 80 labels."""
    with np.load(data_file("coco_mini_effnetlite0.npz"), allow_pickle=False) as arrays:
        return Dataset("coco_mini_features", arrays["features"].astype(np.float32), arrays["labels"])


def _square_photo(photo: bytes, side: int) -> np.ndarray:
    """A JPEG as uint8 ``[side, side, 3]``: its short side resized, its middle cut out."""
    from PIL import Image

    with Image.open(io.BytesIO(photo), formats=["JPEG"]) as image:
        image = image.convert("RGB")
    scale = side / min(image.size)
    width, height = (max(side, round(length * scale)) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def load_coco_mini_photos(path: str) -> Dataset:
    """The same 350 MS-COCO photographs as images of 224 x 224 pixels, with their 80 labels."""
    with np.load(data_file("coco_mini_images.npz"), allow_pickle=False) as arrays:
        jpeg, offsets, labels = (arrays[key] for key in ("jpeg", "offsets", "labels"))
    photos = [jpeg[start:stop].tobytes() for start, stop in zip(offsets[:-1], offsets[1:], strict=True)]
    return Dataset("coco_mini_photos", np.stack([_square_photo(photo, 224) for photo in photos]), labels)


def load_coco_labels(path: str) -> Dataset:
    """The MS-COCO 2014 label matrix (122,218 x 80) with the index lists that HashNet published."""
    with np.load(data_file("coco_labels.npz"), allow_pickle=False) as arrays:
        lists = tuple(arrays[f"hashnet_{part}"] for part in ("test", "train", "database"))
        return Dataset("coco_labels", None, arrays["labels"], {"CO": lists})


def load_arrays(path: str) -> Dataset:
    """Your own data: an .npz file with `labels` and either `features` or `images`.

    Args:
      path: file with labels ``[N]`` (integer, negative for none) or ``[N, C]`` (multi-hot) and features float
        ``[N, D]`` or images uint8 ``[N, H, W, channels]``.

    Returns:
      Dataset named after the file.

    Raises:
      UserError: the file or a key is missing.
    """
    if not path:
        raise UserError("data.source=arrays needs data.path, an .npz file with labels and features or images")
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
            keys = arrays.files
            inputs_key = next((key for key in ("features", "images") if key in keys), None)
            if inputs_key is None or "labels" not in keys:
                raise UserError(f"{path} holds {', '.join(keys)}: it needs labels, and features or images")
            inputs, labels = arrays[inputs_key], arrays["labels"]
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an .npz file: {error}") from error
    return Dataset(Path(path).stem, inputs, labels)


SOURCES: dict[str, Callable[[str], Dataset]] = {
    "arrays": load_arrays,
    "cifar10": load_cifar10,
    "cifar10_features": load_cifar10_features,
    "coco_labels": load_coco_labels,
    "coco_mini_features": load_coco_mini_features,
    "coco_mini_photos": load_coco_mini_photos,
    "digits": load_digits,
}


def check_dataset(dataset: Dataset) -> Dataset:
    """Refuses data that no stage could work with, and brings dtypes to their stored form.

    Args:
      dataset: as loaded.

    Returns:
      The dataset with inputs uint8 or float32 and labels int32 or uint8.

    Raises:
      UserError: wrong shapes or types, NaN, rows that do not match, fewer than two classes.
    """
    name, inputs, labels, _ = dataset
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub":
        raise UserError(f"{name}: labels are {labels.dtype} {labels.shape}; give integers [N] or multi-hot rows [N, C]")
    if labels.max(initial=0) >= 2**31:
        raise UserError(f"{name}: the largest label is {labels.max()}; number the classes from 0")
    if labels.ndim == 2 and not np.isin(labels, (0, 1)).all():
        raise UserError(f"{name}: multi-hot labels hold values other than 0 and 1")
    num_classes = int((labels != 0).any(axis=0).sum()) if labels.ndim == 2 else len(np.unique(labels[labels >= 0]))
    if num_classes < 2:
        raise UserError(f"{name}: {num_classes} class in the labels; hashing by labels needs at least 2")
    labels = labels.astype(np.int32 if labels.ndim == 1 else np.uint8)
    if inputs is None:
        return dataset._replace(labels=labels)
    if inputs.ndim == 0 or len(inputs) != len(labels):
        raise UserError(f"{name}: {len(inputs) if inputs.ndim else 0} rows of inputs but {len(labels)} rows of labels")
    if inputs.ndim == 4 and inputs.dtype == np.uint8:
        return dataset._replace(labels=labels)
    if inputs.ndim != 2 or inputs.dtype.kind not in "fiu":
        raise UserError(
            f"{name}: inputs are {inputs.dtype} {inputs.shape}; "
            "give features [N, D] or uint8 images [N, H, W, channels]"
        )
    inputs = inputs.astype(np.float32)
    bad_rows = np.flatnonzero(~np.isfinite(inputs).all(axis=1))
    if len(bad_rows):
        raise UserError(f"{name}: features of {len(bad_rows)} rows hold NaN or infinity, first in row {bad_rows[0]}")
    return dataset._replace(inputs=inputs, labels=labels)


def load_dataset(source: str, path: str = "") -> Dataset:
    """Loads and checks a dataset.

    Args:
      source: a key of `SOURCES`.
      path: file to read, for source "arrays".

    Returns:
      Dataset.

    Raises:
      UserError: see `check_dataset` and the source.
    """
    return check_dataset(SOURCES[source](path))
