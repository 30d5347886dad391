"""idx files: made-up ones of every damage, and the real Fashion-MNIST where it is installed."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from drlhash_jax.data import load_dataset
from drlhash_jax.data.idx import read_idx
from drlhash_jax.errors import UserError

FASHION = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)


def idx_bytes(array):
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Two gzipped and two plain files of 6 + 4 images of 3 x 2 pixels."""
    root = tmp_path / "fashion"
    root.mkdir()
    arrays = {}
    for part, count, pack in (("train", 6, gzip.compress), ("t10k", 4, None)):
        images = RNG.integers(0, 256, (count, 3, 2), np.uint8)
        labels = (np.arange(count) % 3).astype(np.uint8)
        arrays[part] = images, labels
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            (root / (f"{name}.gz" if pack else name)).write_bytes(pack(content) if pack else content)
    return root, arrays


def test_folder(folder):
    root, arrays = folder
    out = load_dataset("idx", str(root))
    assert out.name == "fashion" and out.inputs.shape == (10, 3, 2, 1)
    np.testing.assert_array_equal(out.inputs[..., 0], np.concatenate([arrays["train"][0], arrays["t10k"][0]]))
    assert out.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def refused(path, *words, read=read_idx):
    with pytest.raises(UserError) as caught:
        read(path)
    assert all(word in str(caught.value) for word in words), caught.value


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(2, 3, 2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["not an idx file"]),
        (b"\x89PNG....", ["89 50 4e 47", "not an idx file"]),
        (GOOD[:2] + b"\x0d" + GOOD[3:], ["not an idx file"]),
        (b"\0\0\x08\0", ["not an idx file"]),
        (GOOD[:9], ["shape"]),
        (GOOD[:-1], ["declares 12", "holds 11"]),
        (GOOD + b"x", ["declares 12", "holds more"]),
        (b"\0\0\x08\x03" + b"\xff" * 12, ["too large"]),
    ],
)
def test_damaged_files(tmp_path, content, words):
    for path, packed in ((tmp_path / "x-idx3-ubyte", content), (tmp_path / "x-idx3-ubyte.gz", gzip.compress(content))):
        path.write_bytes(packed)
        refused(path, path.name, *words)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "x.gz"
    packed = gzip.compress(idx_bytes(RNG.integers(0, 256, (50, 9, 9), np.uint8)))
    for content in (b"", GOOD, packed[: len(packed) // 2], packed[:-4], packed[:100] + b"\0" * 50 + packed[150:]):
        path.write_bytes(content)
        refused(path, "x.gz")


def test_expanding_gzip_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(GOOD + b"\0" * 10**8))
    refused(path, "holds more")


def test_folder_that_does_not_fit_together(folder):
    root, arrays = folder
    load = lambda path: load_dataset("idx", str(path))
    path = root / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    refused(root, "t10k-labels", "(3,)", "4 images", read=load)
    path.unlink()
    refused(root, "neither t10k-labels-idx1-ubyte nor", read=load)
    (root / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((4, 2, 2), np.uint8)))
    path.write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    refused(root, "t10k-images", "(4, 2, 2)", read=load)
    refused("", "data.path", read=load)


def test_fashion_mnist():
    if not FASHION.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    out = load_dataset("idx", str(FASHION))
    assert out.name == "fashion-mnist" and out.inputs.shape == (70_000, 28, 28, 1)
    assert np.bincount(out.labels).tolist() == [7_000] * 10
    # The first training image is an ankle boot.
    assert out.labels[0] == 9 and out.labels[60_000] == 9
