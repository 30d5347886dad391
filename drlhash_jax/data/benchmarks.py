"""Benchmark files that come with the project's data folder, and scikit-learn's digits."""

import contextlib
import os
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drlhash_jax.codes.npy_files import one_line
from drlhash_jax.data.dataset import Dataset, DataSettings
from drlhash_jax.data.images import ImageSpec, decode_image
from drlhash_jax.errors import UserError

# The shared benchmark files are looked up here; see the README for what they hold.
DATA_VARIABLE = "DRLHASH_DATA"
DATA_DEFAULT = "../shared/data"
# Source -> its file.
_FILES = {
    "cifar10": "cifar10_jpeg75_packed.npz",
    "cifar10_features": "cifar10_effnetlite0_pca256.npz",
    "coco_mini": "coco_mini_images.npz",
    "coco_mini_features": "coco_mini_effnetlite0.npz",
    "coco_labels": "coco_labels.npz",
    "nuswide_labels": "nuswide_labels.npz",
}


def data_folder() -> Path:
    """Where the shared benchmark files are looked up, whether it is there or not."""
    return Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT))


def benchmark_faults(folder: Path) -> dict[str, str]:
    """Name of each source of the shared benchmark files -> why it cannot be read; "" for one that is whole.

    Files are opened and not read: one that was cut short is found, flipped bits are not.
    """
    faults = {}
    for source, name in _FILES.items():
        path = folder / name
        if not path.is_file():
            faults[source] = f"{path} not found"
        else:
            faults[source] = "" if zipfile.is_zipfile(path) else f"{path} is damaged, fetch it again"
    return faults


def data_file(name: str) -> Path:
    """Path of a shared benchmark file.

    Raises:
      UserError: it is not there.
    """
    folder = data_folder()
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} not found: set {DATA_VARIABLE} to the folder that holds {name}")
    return path


@contextlib.contextmanager
def _open(source: str) -> Iterator[np.lib.npyio.NpzFile]:
    """The arrays of a source's shared benchmark file.

    Raises:
      UserError: it is not there, or damaged.
    """
    path = data_file(_FILES[source])
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except UserError:
        raise
    except Exception as error:
        # NumPy lets through whatever the decompressors raise.
        raise UserError(f"{path} is damaged, fetch it again: {one_line(error)}") from error


def load_digits(settings: DataSettings) -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, shipped inside its wheel."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    # 17 grey levels, spread over the range of a byte.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Dataset("digits", images[..., None], digits.target.astype(np.int32))


def load_cifar10_features(settings: DataSettings) -> Dataset:
    """CIFAR-10 embeddings of an ImageNet-pretrained EfficientNet-Lite0 at 128 px, reduced to 256 dimensions."""
    with _open("cifar10_features") as arrays:
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int32)
        return Dataset("cifar10_features", arrays["features"].astype(np.float32), labels)


def load_cifar10(settings: DataSettings) -> Dataset:
    """CIFAR-10 pixels after JPEG compression at quality 75, in the official order."""
    with _open("cifar10") as arrays:
        header, scan, offsets = (arrays[key] for key in ("jpeg_header", "scan", "offsets"))
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int32)
        classes = tuple(arrays["class_names"].tolist())
    header, scan = header.tobytes(), scan.tobytes()
    spec = ImageSpec(32)
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    for row in range(len(labels)):
        images[row] = decode_image(header + scan[offsets[row] : offsets[row + 1]] + b"\xff\xd9", spec)
    return Dataset("cifar10_jpeg75", images, labels, classes=classes)


def load_coco_mini(settings: DataSettings) -> Dataset:
    """350 MS-COCO photographs with their 80 labels, decoded at data.image_size."""
    spec = ImageSpec(settings.image_size)
    with _open("coco_mini") as arrays:
        jpeg, offsets = arrays["jpeg"].tobytes(), arrays["offsets"]
        images = np.stack([decode_image(jpeg[start:stop], spec) for start, stop in zip(offsets[:-1], offsets[1:])])
        paths = tuple(f"{number:012d}.jpg" for number in arrays["image_ids"].tolist())
        classes = tuple(arrays["class_names"].tolist())
        return Dataset("coco_mini", images, arrays["labels"], paths=paths, classes=classes, image_spec=spec)


def load_coco_mini_features(settings: DataSettings) -> Dataset:
    """EfficientNet-Lite0 embeddings (1,280 dimensions) of 350 MS-COCO photographs with their 80 labels."""
    with _open("coco_mini_features") as arrays:
        return Dataset("coco_mini_features", arrays["features"].astype(np.float32), arrays["labels"])


def load_coco_labels(settings: DataSettings) -> Dataset:
    """The MS-COCO 2014 label matrix (122,218 x 80), rows in order of file name, with the published index lists."""
    with _open("coco_labels") as arrays:
        published = lambda prefix: tuple(arrays[f"{prefix}_{part}"] for part in ("test", "train", "database"))
        lists = {"CO": published("hashnet"), "CO-deephash": published("deephash")}
        classes = tuple(arrays["class_names"].tolist())
        return Dataset("coco_labels", None, arrays["labels"], lists, classes=classes)


def match_rows(wanted: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places of label rows in a matrix, each place used once: int64 ``[n]``.

    Args:
      wanted: uint8 ``[n, C]``.
      rows: uint8 ``[N, C]``.

    Raises:
      UserError: a wanted row occurs too rarely.
    """
    places = defaultdict(list)
    for place in range(len(rows) - 1, -1, -1):
        places[rows[place].tobytes()].append(place)
    found = []
    for number, row in enumerate(wanted):
        if not places[row.tobytes()]:
            raise UserError(f"nuswide_labels.npz: training row {number} is not among the database rows")
        found.append(places[row.tobytes()].pop())
    return np.array(found, np.int64)


def load_nuswide_labels(settings: DataSettings) -> Dataset:
    """Labels of NUS-WIDE's 21 most frequent concepts (195,834 x 21) with the published list N-21-list.

    The published database has lost the order of its rows, so query rows come first, database rows after them, and a
    training row is the first free database row of the same labels. That is all that stage 1 can see of it.
    """
    with _open("nuswide_labels") as arrays:
        test, database = arrays["labels_tc21_test"], arrays["labels_tc21_database_unordered"]
        train = len(test) + match_rows(arrays["labels_tc21_train"], database)
        classes = tuple(arrays["tc21_class_names"].tolist())
    query, rest = np.arange(len(test)), np.arange(len(test), len(test) + len(database))
    labels = np.concatenate([test, database])
    return Dataset("nuswide21_labels", None, labels, {"N-21-list": (query, train, rest)}, classes=classes)
