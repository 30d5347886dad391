"""Your own arrays: every form, mapped where possible, and files that lie about what they hold."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from drlhash_jax.data import load_dataset
from drlhash_jax.data.embeddings import read_array, split_address
from drlhash_jax.errors import UserError

FEATURES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", FEATURES)
    np.savez(tmp_path / "x.npz", features=FEATURES, labels=LABELS)
    np.savez_compressed(tmp_path / "small.npz", features=FEATURES)
    save_file({"features": FEATURES, "labels": LABELS}, tmp_path / "x.safetensors")
    return tmp_path


def refused(address, *words, read=read_array):
    with pytest.raises(UserError) as caught:
        read(str(address))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("address", ["x.npy", "x.npz:features", "small.npz:features", "x.safetensors:features"])
@pytest.mark.parametrize("labels", ["x.npz:labels", "x.safetensors:labels"])
def test_every_form(files, address, labels):
    out = load_dataset("embeddings", str(files / address), labels_path=str(files / labels))
    assert out.name == address.split(".")[0]
    np.testing.assert_array_equal(out.inputs, FEATURES)
    assert out.inputs.dtype == np.float32 and out.labels.tolist() == LABELS.tolist()
    assert isinstance(out.inputs, np.memmap) == (address == "x.npy")


def test_addresses():
    assert [str(each) for each in split_address("a:b/x.npz:k:l")] == ["a:b/x.npz:k:l", ""]
    assert [str(each) for each in split_address("a:b/x.npz:k")] == ["a:b/x.npz", "k"]
    assert [str(each) for each in split_address("C:x.npy")] == ["C:x.npy", ""]


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", "f8", "i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_other_types_and_orders_are_converted(tmp_path, dtype, order):
    values = np.array(np.arange(24).reshape(6, 4), dtype, order=order)
    np.save(tmp_path / "x.npy", values)
    np.savez(tmp_path / "x.npz", x=values, labels=LABELS)
    for address in ("x.npy", "x.npz:x"):
        out = load_dataset("embeddings", str(tmp_path / address), labels_path=str(tmp_path / "x.npz:labels"))
        assert out.inputs.dtype == (np.float16 if dtype == "<f2" else np.float32) and out.inputs.dtype.isnative
        assert out.inputs.tolist() == np.arange(24).reshape(6, 4).tolist()


def test_multi_hot_labels(files):
    np.save(files / "y.npy", np.eye(3, dtype=bool)[LABELS])
    out = load_dataset("embeddings", str(files / "x.npy"), labels_path=str(files / "y.npy"))
    assert out.labels.dtype == np.uint8 and out.labels.shape == (6, 3)


def test_first_ten_bad_rows_are_named(tmp_path):
    features = np.zeros((70_000, 2), np.float32)
    features[5::5000, 1] = np.nan
    np.save(tmp_path / "x.npy", features)
    np.save(tmp_path / "y.npy", np.arange(70_000) % 3)
    load = lambda address: load_dataset("embeddings", address, labels_path=str(tmp_path / "y.npy"))
    refused(tmp_path / "x.npy", "14 rows", "row 5, 5005, 10005,", "45005, ...", read=load)


def test_wrong_addresses(files):
    refused(files / "x.npz", "FILE.npz:KEY")
    refused(files / "x.npy:features", "FILE.npy")
    refused(files / "x.txt", "FILE.npy")
    refused(files / "x.npz:x", "no such key", "features, labels")
    refused(files / "x.safetensors:x", "no such key", "features")
    refused(files / "gone.npy", "no such file")
    load = lambda address: load_dataset("embeddings", address)
    refused("", "data.path", read=load)
    refused(files / "x.npy", "data.labels_path", read=load)


def test_one_axis_is_too_few(files):
    load = lambda address: load_dataset("embeddings", address, labels_path=str(files / "x.npz:labels"))
    refused(files / "x.npz:labels", "(6,)", "[N, D]", read=load)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, 1], object),
        np.zeros(3, [("a", "f4"), ("b", "i4")]),
        np.array(["a", "b"]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, complex),
    ],
)
def test_types_that_are_no_numbers(tmp_path, array):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=array, allow_pickle=True)
    for address in ("x.npy", "x.npz:x"):
        refused(tmp_path / address, address, "give numbers")


def npy_bytes(shape, content=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["not a .npy array"]),
        (b"hello", ["not a .npy array"]),
        (npy_bytes((2**33,)), ["declares", "holds 0"]),
        (npy_bytes((4, 2), b"\0" * 31), ["holds 31"]),
        (npy_bytes((4, 2), b"\0" * 33), ["holds 33"]),
        (npy_bytes((4, 2))[:40], ["not a .npy array"]),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': evil()", ["not a .npy array"]),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31), ["not a .npy array"]),
    ],
)
def test_arrays_that_are_not_what_they_declare(tmp_path, content, words):
    (tmp_path / "x.npy").write_bytes(content)
    refused(tmp_path / "x.npy", "x.npy", *words)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    refused(tmp_path / "x.npz:x", "x.npz:x", *words)


def test_negative_shape(tmp_path):
    good = npy_bytes((4, 2), b"\0" * 32)
    (tmp_path / "x.npy").write_bytes(good.replace(b"(4, 2)", b"(-4,2)"))
    refused(tmp_path / "x.npy", "x.npy")


def test_zip_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        size = 300 * 2**20
        with archive.open("features.npy", "w") as file:
            file.write(npy_bytes((size // 4,)))
            for _ in range(300):
                file.write(bytes(2**20))
        archive.writestr("labels.npy", npy_bytes((0,)))
    assert (tmp_path / "x.npz").stat().st_size < 10**6
    refused(f"{tmp_path}/x.npz:features", "unpacks from", "refused")
    # The same where all arrays come in one file.
    refused(tmp_path / "x.npz", "unpacks from", read=lambda path: load_dataset("arrays", path))


def test_damaged_archives(files):
    path = files / "x.npz"
    content = bytearray(path.read_bytes())
    for damaged in (b"", b"text", bytes(content[:-30])):
        path.write_bytes(damaged)
        refused(f"{path}:features", "x.npz")
    # One flipped bit in the values: the archive's checksum tells.
    content[200] ^= 1
    path.write_bytes(content)
    refused(f"{path}:features", "x.npz")


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3"])
def test_types_that_numpy_lacks(files, kind):
    size = 2 if kind == "BF16" else 1
    header = json.dumps({"w": {"dtype": kind, "shape": [4], "data_offsets": [0, 4 * size]}}).encode()
    (files / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4 * size)
    refused(f"{files}/w.safetensors:w", "w.safetensors:w")


def test_damaged_safetensors(files):
    path = files / "x.safetensors"
    content = path.read_bytes()
    for damaged in (b"", content[:-1], b"\xff" * 8 + content[8:], content[:20]):
        path.write_bytes(damaged)
        refused(f"{path}:features", "x.safetensors")
