"""Benchmark files of the project's data folder that hold pictures."""

import numpy as np
import pytest

from drlhash_jax.data import load_dataset
from drlhash_jax.data.benchmarks import match_rows
from drlhash_jax.errors import UserError


def test_photographs(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("coco_mini", image_size=64)
    assert out.inputs.shape == (350, 64, 64, 3) and out.labels.shape == (350, 80)
    assert out.image_spec.size == 64 and out.classes[-1] == "zebra" and out.paths[0] == "000000000009.jpg"
    with np.load(shared_data / "coco_mini_images.npz", allow_pickle=False) as arrays:
        thumbs = arrays["thumb64"].astype(int)
    # The stored thumbnails were made elsewhere: alike, not equal.
    assert np.median(abs(thumbs - out.inputs).mean(axis=(1, 2, 3))) < 40


@pytest.mark.slow
def test_cifar10_pixels_are_close_to_the_originals(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("cifar10")
    assert out.inputs.shape == (60_000, 32, 32, 3)
    with np.load(shared_data / "cifar10_lossless_mini.npz", allow_pickle=False) as arrays:
        for part, first in (("train", 0), ("test", 50_000)):
            rows = first + arrays[f"{part}_index"]
            np.testing.assert_array_equal(out.labels[rows], arrays[f"y_{part}"])
            assert abs(out.inputs[rows].astype(int) - arrays[f"x_{part}"]).mean() < 8


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06" + b"\0" * 18, None])
def test_damaged_files_are_named(tmp_path, monkeypatch, content):
    monkeypatch.setenv("DRLHASH_DATA", str(tmp_path))
    for source, name in {
        "cifar10": "cifar10_jpeg75_packed",
        "cifar10_features": "cifar10_effnetlite0_pca256",
        "coco_labels": "coco_labels",
        "coco_mini": "coco_mini_images",
        "coco_mini_features": "coco_mini_effnetlite0",
        "nuswide_labels": "nuswide_labels",
    }.items():
        path = tmp_path / f"{name}.npz"
        if content is None:
            np.savez(path, labels=np.zeros(3))
        else:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"{name}.npz is damaged, fetch it again"):
            load_dataset(source)


def test_rows_are_matched_once_each():
    rows = np.array([[1, 0], [0, 1], [1, 0]], np.uint8)
    assert match_rows(rows[[2, 1, 0]], rows).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="training row 2"):
        match_rows(rows[[0, 0, 0]], rows)
