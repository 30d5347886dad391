"""Your own arrays: embeddings with labels in .npy, .npz or .safetensors, or one .npz that holds everything."""

import math
import tokenize
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.errors import UserError

_SUFFIXES = (".npy", ".npz", ".safetensors")
# An archive that grows by more than this is no array of measurements.
_MAX_RATIO = 100
_MAX_SUSPECT_BYTES = 256 * 2**20


def split_address(address: str) -> tuple[Path, str]:
    """A file and the key in it: "a.npz:x" is a.npz and x; the key of a .npy is ""."""
    path, colon, key = address.rpartition(":")
    if colon and path.endswith(_SUFFIXES):
        return Path(path), key
    return Path(address), ""


def _read_header(file: BinaryIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type that a .npy declares; its values are not touched."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    except (ValueError, SyntaxError, tokenize.TokenError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{where} is not a .npy array: {error}") from error
    if dtype.hasobject or dtype.names or dtype.kind not in "fiub":
        raise UserError(f"{where} holds {dtype}: give numbers (objects are never unpickled)")
    return shape, fortran_order, dtype


def _check_size(shape: tuple[int, ...], dtype: np.dtype, available: int, where: str) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if needed != available:
        raise UserError(f"{where} declares {shape} {dtype}, {needed} bytes, and holds {available}: it is damaged")


def _map_npy(path: Path) -> np.ndarray:
    with open(path, "rb") as file:
        shape, _, dtype = _read_header(file, str(path))
        _check_size(shape, dtype, path.stat().st_size - file.tell(), str(path))
    # Nothing to map in an empty array.
    return np.load(path, mmap_mode="r" if math.prod(shape) else None, allow_pickle=False)


def _member_of(archive: zipfile.ZipFile, path: Path, key: str) -> zipfile.ZipInfo:
    keys = [name.removesuffix(".npy") for name in archive.namelist()]
    if key not in keys:
        raise UserError(f"{path}:{key}: no such key; it holds {', '.join(keys[:10])}")
    member = archive.infolist()[keys.index(key)]
    if member.file_size > max(_MAX_SUSPECT_BYTES, _MAX_RATIO * member.compress_size):
        raise UserError(
            f"{path}:{key} unpacks from {member.compress_size} to {member.file_size} bytes: refused; "
            "store it with numpy.savez, uncompressed"
        )
    return member


def _read_npz(path: Path, key: str) -> np.ndarray:
    where = f"{path}:{key}"
    try:
        with zipfile.ZipFile(path) as archive:
            member = _member_of(archive, path, key)
            with archive.open(member) as file:
                shape, fortran_order, dtype = _read_header(file, where)
                _check_size(shape, dtype, member.file_size - file.tell(), where)
                content = file.read()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as an .npz file: {error}") from error
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_safetensors(path: Path, key: str) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            if key not in keys:
                raise UserError(f"{path}:{key}: no such key; it holds {', '.join(keys[:10])}")
            return file.get_tensor(key)
    except (SafetensorError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}:{key} cannot be read as .safetensors: {error}") from error


def read_array(address: str) -> np.ndarray:
    """Reads an array of numbers.

    Args:
      address: "file.npy", which is mapped, "file.npz:key" or "file.safetensors:key".

    Returns:
      The array in the machine's byte order.

    Raises:
      UserError: no such file or key, objects or text, or a size that is not what the file declares.
    """
    path, key = split_address(address)
    if path.suffix not in _SUFFIXES or (path.suffix == ".npy") == bool(key):
        raise UserError(f"{address}: give FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if path.suffix == ".npy":
            array = _map_npy(path)
        else:
            array = _read_npz(path, key) if path.suffix == ".npz" else _read_safetensors(path, key)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def load_embeddings(settings: DataSettings) -> Dataset:
    """Features float ``[N, D]`` from data.path and labels ``[N]`` or ``[N, C]`` from data.labels_path."""
    address = needed_path(settings, "embeddings", "FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY")
    if not settings.labels_path:
        raise UserError("data.source=embeddings needs data.labels_path: FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY")
    features, labels = read_array(address), read_array(settings.labels_path)
    if features.ndim != 2:
        raise UserError(f"{address} has shape {features.shape}: embeddings have two axes [N, D]")
    return Dataset(split_address(address)[0].stem, features, np.asarray(labels))


def load_arrays(settings: DataSettings) -> Dataset:
    """One .npz file with `labels` and either `features` or `images`.

    Labels are ``[N]`` (integer, negative for none) or ``[N, C]`` (multi-hot), features float ``[N, D]``, images uint8
    ``[N, H, W, channels]``.

    Raises:
      UserError: the file or a key is missing, or see `read_array`.
    """
    path = needed_path(settings, "arrays", "an .npz file with labels and features or images")
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an .npz file: {error}") from error
    inputs_key = next((key for key in ("features", "images") if key in keys), None)
    if inputs_key is None or "labels" not in keys:
        raise UserError(f"{path} holds {', '.join(keys)}: it needs labels, and features or images")
    return Dataset(Path(path).stem, _read_npz(Path(path), inputs_key), _read_npz(Path(path), "labels"))
