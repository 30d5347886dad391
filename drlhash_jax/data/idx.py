"""idx files, the layout of MNIST and Fashion-MNIST, plain or gzipped."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.errors import UserError

_UNSIGNED_BYTES = 0x08
_MAX_BYTES = 2**32


def read_idx(path: Path) -> np.ndarray:
    """Reads an idx file of unsigned bytes: 0, 0, type, number of axes, big-endian lengths, values.

    Args:
      path: the file; gzipped if its name ends in .gz.

    Returns:
      uint8, of the shape that the file declares.

    Raises:
      UserError: not such a file, or its length is not what it declares.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UNSIGNED_BYTES or not head[3]:
                raise UserError(f"{path} starts with {head.hex(' ')}: not an idx file of bytes (00 00 08 axes)")
            lengths = file.read(4 * head[3])
            shape = tuple(np.frombuffer(lengths[: len(lengths) // 4 * 4], ">u4").tolist())
            size = math.prod(shape)
            if len(shape) < head[3] or size > _MAX_BYTES:
                raise UserError(f"{path} declares shape {shape}: damaged, or too large to be an idx file of images")
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if len(content) != size:
        found = "more" if len(content) > size else len(content)
        raise UserError(f"{path} declares {size} values and holds {found}: fetch it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UserError(f"{folder} holds neither {name} nor {name}.gz")


def load_idx(settings: DataSettings) -> Dataset:
    """A folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and both t10k files: training rows come first."""
    folder = Path(needed_path(settings, "idx", "a folder with train-images-idx3-ubyte and its three companions"))
    images, labels = [], []
    for part in ("train", "t10k"):
        image_file, label_file = _find(folder, f"{part}-images-idx3-ubyte"), _find(folder, f"{part}-labels-idx1-ubyte")
        images.append(read_idx(image_file))
        labels.append(read_idx(label_file))
        if images[-1].ndim != 3 or images[-1].shape[1:] != images[0].shape[1:]:
            raise UserError(f"{image_file} has shape {images[-1].shape}: expected [N, H, W], of one size in both parts")
        if labels[-1].shape != images[-1].shape[:1]:
            raise UserError(f"{label_file} has shape {labels[-1].shape}, {image_file} has {len(images[-1])} images")
    return Dataset(folder.resolve().name, np.concatenate(images)[..., None], np.concatenate(labels).astype(np.int32))
