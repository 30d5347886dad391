"""Your own arrays: embeddings with labels in .npy, .npz or .safetensors, or one .npz that holds everything."""

from pathlib import Path

import numpy as np

from drlhash_jax.codes.npy_files import map_npy
from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.data.npz_files import npz_keys, open_npz, read_npz
from drlhash_jax.data.paths import regular_file
from drlhash_jax.errors import UserError

_SUFFIXES = (".npy", ".npz", ".safetensors")


def split_address(address: str) -> tuple[Path, str]:
    """A file and the key in it: "a.npz:x" is a.npz and x; the key of a .npy is ""."""
    path, colon, key = address.rpartition(":")
    if colon and path.endswith(_SUFFIXES):
        return Path(path), key
    return Path(address), ""


def _read_safetensors(path: Path, key: str) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            if key not in keys:
                raise UserError(f"{path}:{key}: no such key; it holds {', '.join(keys[:10])[:200]}")
            array = file.get_tensor(key)
    except UserError:
        raise
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:
        # AttributeError: of a type that NumPy does not have.
        raise UserError(f"{path}:{key} cannot be read as .safetensors: {error}") from error
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}:{key} holds {array.dtype}: give numbers that NumPy has, such as float16 or float32")
    return array


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
        raise UserError(f"{address[:200]}: give FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY")
    regular_file(path)
    try:
        if path.suffix == ".npy":
            array = map_npy(path)
        else:
            array = read_npz(path, key) if path.suffix == ".npz" else _read_safetensors(path, key)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _read_setting(field: str, address: str) -> np.ndarray:
    try:
        return read_array(address)
    except UserError as error:
        raise UserError(f"--config.data.{field}: {error}") from error


def load_embeddings(settings: DataSettings) -> Dataset:
    """Features ``[N, D]`` from data.path and labels ``[N]`` or ``[N, C]`` from data.labels_path."""
    forms = "FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY"
    address = needed_path(settings, "embeddings", forms)
    if not settings.labels_path:
        raise UserError(f"--config.data.source=embeddings needs --config.data.labels_path: {forms}")
    features, labels = _read_setting("path", address), _read_setting("labels_path", settings.labels_path)
    if features.ndim != 2:
        raise UserError(f"--config.data.path={address} has shape {features.shape}: embeddings have two axes [N, D]")
    return Dataset(split_address(address)[0].stem, features, np.asarray(labels))


def load_arrays(settings: DataSettings) -> Dataset:
    """One .npz file with `labels` and either `features` or `images`.

    Labels are ``[N]`` (integer, negative for none) or ``[N, C]`` (multi-hot), features ``[N, D]``, images uint8
    ``[N, H, W, channels]``.

    Raises:
      UserError: the file or a key is missing, or see `read_npz`.
    """
    path = Path(needed_path(settings, "arrays", "an .npz file with labels and features or images"))
    with open_npz(path) as archive:
        keys = npz_keys(archive)
    inputs_key = next((key for key in ("features", "images") if key in keys), None)
    if inputs_key is None or "labels" not in keys:
        raise UserError(f"{path} holds {', '.join(keys)[:200]}: it needs labels, and features or images")
    return Dataset(path.stem, read_npz(path, inputs_key), read_npz(path, "labels"))
