"""CIFAR-10 as published: the official binary archive, and TensorFlow Datasets' prepared folder."""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.data.paths import regular_file
from drlhash_jax.errors import UserError

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
NAMES_FILE = "batches.meta.txt"
_TFDS_FOLDER = "cifar10/3.0.2"
_RECORD = 1 + 3 * 32 * 32
_MAX_RECORDS = 10_000


def _parse_batch(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 ``[n]`` and images uint8 ``[n, 32, 32, 3]`` of a batch: a label byte, then three colour planes."""
    if not content or len(content) % _RECORD:
        raise UserError(f"{where} has {len(content)} bytes, not a multiple of {_RECORD}: cut short? fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    bad = np.flatnonzero(records[:, 0] > 9)
    if len(bad):
        raise UserError(f"{where}: record {bad[0]} has label {records[bad[0], 0]}, not 0 to 9: not CIFAR-10's file")
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return records[:, 0].astype(np.int32), np.ascontiguousarray(images)


def _read_archive(path: Path) -> dict[str, bytes]:
    """The files of interest in the .tar.gz, by name; nothing is unpacked to disk."""
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN_FILES, *TEST_FILES, NAMES_FILE)}
    found = {}
    try:
        with tarfile.open(regular_file(path), "r:*") as archive:
            for member in archive:
                name = wanted.get(member.name.removeprefix("./"))
                if name is None or not member.isfile():
                    continue
                if member.size > _MAX_RECORDS * _RECORD:
                    raise UserError(f"{path}: {member.name} has {member.size} bytes, above {_MAX_RECORDS} records")
                found[name] = archive.extractfile(member).read()
                if len(found[name]) != member.size:
                    raise EOFError(f"{member.name} is cut short")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        # tarfile lists what it tried, a line each.
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be read as a .tar archive, fetch it again: {reason}") from error
    return found


def _read_folder(path: Path) -> dict[str, bytes]:
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    found = {}
    for name in (*TRAIN_FILES, *TEST_FILES, NAMES_FILE):
        file = folder / name
        if file.is_file():
            if file.stat().st_size > _MAX_RECORDS * _RECORD:
                raise UserError(f"{file} has {file.stat().st_size} bytes, above {_MAX_RECORDS} records")
            found[name] = file.read_bytes()
    return found


def read_binary(path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Reads the official binary archive, packed or unpacked.

    Args:
      path: cifar-10-binary.tar.gz, or the folder that it unpacks to, or the folder around that.

    Returns:
      Split ("train", "test") -> (labels int32 ``[n]``, images uint8 ``[n, 32, 32, 3]``), and the names of the classes,
      empty where batches.meta.txt is missing.

    Raises:
      UserError: missing or damaged.
    """
    if not path.exists():
        raise UserError(f"--config.data.path={path}: no such file or folder; give cifar-10-binary.tar.gz or {FOLDER}")
    found = _read_folder(path) if path.is_dir() else _read_archive(path)
    missing = [name for name in (*TRAIN_FILES, *TEST_FILES) if name not in found]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: give CIFAR-10's binary version, {FOLDER}")
    splits = {}
    for split, names in (("train", TRAIN_FILES), ("test", TEST_FILES)):
        parts = [_parse_batch(found[name], f"{path}: {name}") for name in names]
        splits[split] = tuple(np.concatenate(arrays) for arrays in zip(*parts))
    return splits, tuple(found.get(NAMES_FILE, b"").decode("ascii", "replace").split())


def load_cifar10_binary(settings: DataSettings) -> Dataset:
    """The official binary archive: 50,000 training rows, then 10,000 test rows."""
    path = needed_path(settings, "cifar10_binary", f"cifar-10-binary.tar.gz or the folder {FOLDER}")
    splits, classes = read_binary(Path(path))
    labels, images = (np.concatenate(arrays) for arrays in zip(*splits.values()))
    return Dataset("cifar10", images, labels, classes=classes)


def load_tfds_cifar10(settings: DataSettings) -> Dataset:
    """TensorFlow Datasets' cifar10, prepared as array_record; rows in the order of the binary archive.

    TensorFlow is not needed, nor imported.
    """
    how = (
        "prepare it with `python -m drlhash_jax.data.tfds_cifar10_builder ARCHIVE DATA_DIR`, "
        "or with tfds.builder('cifar10', file_format='array_record').download_and_prepare()"
    )
    path = Path(needed_path(settings, "tfds_cifar10", f"the data_dir that holds cifar10/3.0.2; {how}"))
    # Without this check tfds asks a server for minutes.
    if not (path / _TFDS_FOLDER / "dataset_info.json").is_file():
        raise UserError(f"--config.data.path={path} holds no {_TFDS_FOLDER}/dataset_info.json: {how}")
    import tensorflow_datasets as tfds

    try:
        sources = tfds.data_source("cifar10:3.0.2", data_dir=path, download=False)
        examples = [example for split in ("train", "test") for example in sorted(sources[split], key=_example_id)]
    except Exception as error:
        # What tfds and array_record raise on folders that are incomplete or damaged is not documented.
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"--config.data.path={path}: cifar10 cannot be read ({type(error).__name__}: {text}): {how}"
        ) from error
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples], np.int32)
    names = sources["train"].dataset_info.features["label"].names
    return Dataset("cifar10", images, labels, classes=tuple(names or ()))


def _example_id(example: dict) -> bytes:
    """tfds stores rows in hashed order; their id, such as train_00012, is the official one."""
    return example["id"]
