"""CIFAR-10's binary archive, packed and unpacked, and its copy prepared by tfds, on small files of the true layout."""

import gzip
import io
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from drlhash_jax.data import load_dataset
from drlhash_jax.errors import UserError

NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ROWS = 12


@pytest.fixture(scope="module")
def batches():
    """File name -> (labels, images) and the file's bytes."""
    rng = np.random.default_rng(0)
    made = {}
    for name in NAMES:
        labels = rng.integers(0, 10, ROWS).astype(np.uint8)
        images = rng.integers(0, 256, (ROWS, 32, 32, 3), np.uint8)
        # One label byte, then the red, green and blue plane.
        records = b"".join(bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, images))
        made[name] = labels, images, records
    return made


def write_folder(folder, batches):
    folder.mkdir(parents=True)
    for name, (_, _, records) in batches.items():
        (folder / name).write_bytes(records)
    # As published, with an empty line at the end.
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    (folder / "readme.html").write_text("<html></html>")
    return folder


@pytest.fixture
def folder(batches, tmp_path):
    return write_folder(tmp_path / "cifar-10-batches-bin", batches)


def write_archive(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    return path


def check(dataset, batches):
    assert dataset.name == "cifar10"
    np.testing.assert_array_equal(dataset.labels, np.concatenate([batches[name][0] for name in NAMES]))
    np.testing.assert_array_equal(dataset.inputs, np.concatenate([batches[name][1] for name in NAMES]))
    assert dataset.classes == CLASSES


def test_folder_and_archive(folder, batches, tmp_path):
    archive = write_archive(folder, tmp_path / "cifar-10-binary.tar.gz")
    for path in (folder, folder.parent, archive):
        check(load_dataset("cifar10_binary", str(path)), batches)


def refused(source, path, *words):
    with pytest.raises(UserError) as caught:
        load_dataset(source, str(path))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_missing(tmp_path, folder):
    refused("cifar10_binary", "", "data.path", "cifar-10-binary.tar.gz")
    refused("cifar10_binary", tmp_path / "nowhere", "nowhere", "no such")
    (folder / "data_batch_3.bin").unlink()
    refused("cifar10_binary", folder, "lacks data_batch_3.bin")
    (tmp_path / "empty").mkdir()
    refused("cifar10_binary", tmp_path / "empty", "lacks data_batch_1.bin", "test_batch.bin")


def test_cut_batch(folder):
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    refused("cifar10_binary", folder, "data_batch_2.bin", "36875 bytes", "3073")
    path.write_bytes(b"")
    refused("cifar10_binary", folder, "data_batch_2.bin", "0 bytes")


def test_label_out_of_range(folder):
    # CIFAR-100 has two label bytes: its file is not mistaken for this one.
    path = folder / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[3073 * 4] = 10
    path.write_bytes(content)
    refused("cifar10_binary", folder, "test_batch.bin", "record 4", "label 10")


def test_batch_beyond_the_official_size(folder, tmp_path):
    with open(folder / "data_batch_1.bin", "r+b") as file:
        file.truncate(10_001 * 3073)
    refused("cifar10_binary", folder, "data_batch_1.bin", "30733073 bytes")
    refused("cifar10_binary", write_archive(folder, tmp_path / "a.tar.gz"), "data_batch_1.bin", "30733073 bytes")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_archive(folder, tmp_path, share):
    path = write_archive(folder, tmp_path / "cifar-10-binary.tar.gz")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused("cifar10_binary", path, "cifar-10-binary.tar.gz")


def test_damaged_archives(folder, tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(b"<html>not found</html>")
    refused("cifar10_binary", path, "cannot be read as a .tar archive")
    # A tar that ends in the middle of a file, inside a gzip stream that is whole.
    with io.BytesIO() as plain:
        with tarfile.open(fileobj=plain, mode="w") as archive:
            archive.add(folder, folder.name)
        path.write_bytes(gzip.compress(plain.getvalue()[:60_000]))
    refused("cifar10_binary", path, "cifar-10-binary.tar.gz")


def test_links_in_the_archive_are_not_followed(folder, tmp_path):
    (folder / "data_batch_1.bin").unlink()
    (folder / "data_batch_1.bin").symlink_to("/etc/hostname")
    refused("cifar10_binary", write_archive(folder, tmp_path / "a.tar.gz"), "lacks data_batch_1.bin")


@pytest.fixture(scope="module")
def prepared(batches, tmp_path_factory):
    """A tfds folder that the builder's command line made, in a process of its own."""
    root = tmp_path_factory.mktemp("tfds")
    folder = write_folder(root / "cifar-10-batches-bin", batches)
    module = "drlhash_jax.data.tfds_cifar10_builder"
    done = subprocess.run(
        [sys.executable, "-m", module, str(write_archive(folder, root / "a.tar.gz")), str(root / "data")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return root / "data"


def test_tfds_reads_what_the_builder_prepared(prepared, batches):
    check(load_dataset("tfds_cifar10", str(prepared)), batches)


def test_prepared_folder_is_that_of_tfds(prepared):
    import tensorflow_datasets as tfds

    assert (prepared / "cifar10/3.0.2/features.json").is_file()
    source = tfds.data_source("cifar10", split="test", data_dir=prepared, download=False)
    example = source[0]
    assert set(example) == {"id", "image", "label"} and example["id"].startswith(b"test_")
    assert len(source) == ROWS and source.dataset_info.version == "3.0.2"


def test_tensorflow_is_never_imported(prepared):
    code = (
        "import sys; from drlhash_jax.data import load_dataset; import drlhash_jax.data.tfds_cifar10_builder;"
        f"load_dataset('tfds_cifar10', {str(prepared)!r}); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_missing_tfds_folder_fails_at_once_and_tells_how_to_prepare(tmp_path):
    (tmp_path / "cifar10").mkdir()
    refused("tfds_cifar10", "", "data.path", "tfds_cifar10_builder")
    for path in (tmp_path / "nowhere", tmp_path):
        refused("tfds_cifar10", path, str(path), "drlhash_jax.data.tfds_cifar10_builder", "download_and_prepare")


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_damaged_tfds_folder(prepared, tmp_path, damage):
    folder = tmp_path / "cifar10/3.0.2"
    folder.mkdir(parents=True)
    for path in (prepared / "cifar10/3.0.2").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    record = next(folder.glob("cifar10-test*"))
    if damage == "gone":
        record.unlink()
    else:
        record.write_bytes(record.read_bytes()[: len(record.read_bytes()) // 2 if damage == "cut" else 0])
    refused("tfds_cifar10", tmp_path, str(tmp_path), "cannot be read", "tfds_cifar10_builder")


def test_builder_refuses_a_damaged_archive(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "drlhash_jax.data.tfds_cifar10_builder", str(path), str(tmp_path / "data")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "cannot be read" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_true_pixels(shared_data, tmp_path):
    """Original images, written in the official layout, come back to the byte."""
    with np.load(shared_data / "cifar10_lossless_mini.npz", allow_pickle=False) as arrays:
        images, labels = arrays["x_test"], arrays["y_test"]
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1)
    for name in NAMES:
        (tmp_path / name).write_bytes(records.astype(np.uint8).tobytes())
    out = load_dataset("cifar10_binary", str(tmp_path))
    np.testing.assert_array_equal(out.inputs[-800:], images)
    np.testing.assert_array_equal(out.labels[-800:], labels)
    assert out.classes == ()
