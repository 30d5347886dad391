"""Many image files to one array of pixels: in memory, or decoded once into a file that is mapped."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from drlhash_jax.data.dataset import Dataset, DataSettings
from drlhash_jax.data.images import ImageSpec, Skipped, UnreadableImageError, decode_image
from drlhash_jax.errors import UserError

MEMORY_LIMIT = 4 * 2**30
_FILES_A_BLOCK = 1024
_FILES_A_TASK = 16


class StoredImages(NamedTuple):
    """Decoded files.

    Attributes:
      images: uint8 ``[n, size, size, 3]`` of the files that could be read, in their order.
      rows: int64 ``[n]``, their places in the list.
      skipped: the other files.
    """

    images: np.ndarray
    rows: np.ndarray
    skipped: tuple[Skipped, ...]


def _try_decode(path: Path, spec: ImageSpec) -> np.ndarray | str:
    """The pixels, or why there are none."""
    try:
        return decode_image(path, spec)
    except UnreadableImageError as error:
        return str(error)


def _start_worker() -> None:
    """Leaves signals to the parent, which ends the pool in order, and ends with the parent if that is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _decode_all(paths: list[Path], spec: ImageSpec, num_workers: int) -> Iterator[np.ndarray | str]:
    """`_try_decode` of every file in order; no more than a block of results waits."""
    if not num_workers:
        yield from (_try_decode(path, spec) for path in paths)
        return
    # A fork of a process that runs JAX's threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker) as pool:
        for start in range(0, len(paths), _FILES_A_BLOCK):
            block = paths[start : start + _FILES_A_BLOCK]
            try:
                yield from pool.map(_try_decode, block, [spec] * len(block), chunksize=_FILES_A_TASK)
            except BrokenProcessPool as error:
                raise UserError(
                    f"data.num_workers={num_workers}: a process that decodes images ended (out of memory?); "
                    "use fewer, or 0"
                ) from error


def _digest(root: Path, names: list[str], spec: ImageSpec) -> str:
    """SHA-256 of what the pixels depend on: the files' names, sizes and times, and the spec."""
    digest = hashlib.sha256(json.dumps([str(root.resolve()), spec._asdict()]).encode())
    for name in names:
        try:
            status = (root / name).stat()
            facts = [name, status.st_size, status.st_mtime_ns]
        except OSError:
            facts = [name]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def _facts_file(cache: Path) -> Path:
    return cache.with_name(f"{cache.name}.json")


def _read_cache(cache: Path, digest: str) -> StoredImages | None:
    """What the cache holds, or None if that is something else."""
    try:
        facts = json.loads(_facts_file(cache).read_text())
        if facts["digest"] != digest:
            return None
        images = np.load(cache, mmap_mode="r", allow_pickle=False)
        rows = np.array(facts["rows"], np.int64)
        skipped = tuple(Skipped(*each) for each in facts["skipped"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return StoredImages(images, rows, skipped) if len(images) == len(rows) else None


def _locked(cache: Path) -> FileLock:
    """The cache's lock, beside it; the operating system drops that of a process that is killed."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(cache.with_name(f".{cache.name}.lock")).acquire()
    except OSError as error:
        raise UserError(f"data.cache={cache} cannot be written: {error.strerror or error}") from error


def _write_header(file, num_rows: int, spec: ImageSpec) -> None:
    """Header of a .npy file; NumPy leaves room in it for another number of rows."""
    shape = (num_rows, spec.size, spec.size, 3)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _write_cache(cache: Path, digest: str, decoded: Iterator, names: list[str], spec: ImageSpec) -> StoredImages:
    """Appends image by image, so that a full disk is an error and not a crash; renames when all is there."""
    temporary = cache.with_name(f".{cache.name}.tmp")
    rows, skipped = [], []
    try:
        with open(temporary, "wb") as file:
            _write_header(file, len(names), spec)
            for row, result in enumerate(decoded):
                if isinstance(result, str):
                    skipped.append(Skipped(names[row], result))
                else:
                    file.write(result.data)
                    rows.append(row)
            file.seek(0)
            _write_header(file, len(rows), spec)
            file.flush()
            os.fsync(file.fileno())
        # Facts of an older file must not describe the new one.
        _facts_file(cache).unlink(missing_ok=True)
        os.replace(temporary, cache)
        facts = {"digest": digest, "spec": spec._asdict(), "rows": rows, "skipped": skipped}
        temporary.write_text(json.dumps(facts))
        os.replace(temporary, _facts_file(cache))
        # An empty file cannot be mapped.
        images = np.load(cache, mmap_mode="r" if rows else None)
        return StoredImages(images, np.array(rows, np.int64), tuple(skipped))
    except OSError as error:
        raise UserError(f"data.cache={cache} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _hold(decoded: Iterator, names: list[str], spec: ImageSpec) -> StoredImages:
    images = np.empty((len(names), spec.size, spec.size, 3), np.uint8)
    rows, skipped = [], []
    for row, result in enumerate(decoded):
        if isinstance(result, str):
            skipped.append(Skipped(names[row], result))
        else:
            images[len(rows)] = result
            rows.append(row)
    return StoredImages(images[: len(rows)], np.array(rows, np.int64), tuple(skipped))


def load_images(root: Path, names: list[str], settings: DataSettings) -> StoredImages:
    """Decodes files, or maps those that an earlier call decoded.

    Args:
      root: folder that the names are relative to.
      names: of the files, each inside root.
      settings: DataSettings.

    Returns:
      StoredImages.

    Raises:
      UserError: too many files cannot be read, or they do not fit in memory and there is no cache.
    """
    if not names:
        raise UserError(f"{root}: no image is left to read; the list is empty, or no row of it has a label")
    spec = ImageSpec(settings.image_size)
    size = len(names) * spec.size**2 * 3
    if size > MEMORY_LIMIT and not settings.cache:
        raise UserError(
            f"{len(names)} images of {spec.size} pixels take {size / 2**30:.1f} GiB: set data.cache to a file "
            "(.npy) on a disk with that much room, or a smaller data.image_size"
        )
    decode = lambda: _decode_all([root / name for name in names], spec, settings.num_workers)
    if settings.cache:
        cache = Path(settings.cache)
        digest = _digest(root, names, spec)
        # Of several processes that share the file one decodes, and the others wait for it.
        with _locked(cache):
            stored = _read_cache(cache, digest) or _write_cache(cache, digest, decode(), names, spec)
    else:
        stored = _hold(decode(), names, spec)
    if len(stored.skipped) > settings.max_skipped * len(names) or not len(stored.rows):
        path, reason = stored.skipped[0]
        raise UserError(
            f"{len(stored.skipped)} of {len(names)} image files under {root} cannot be read, first {path}: {reason}; "
            f"mend them, or allow more than data.max_skipped={settings.max_skipped}"
        )
    return stored


def image_dataset(
    name: str,
    root: Path,
    names: list[str],
    labels: np.ndarray,
    settings: DataSettings,
    lists: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None,
    classes: tuple[str, ...] = (),
    ignored: tuple[Skipped, ...] = (),
) -> Dataset:
    """A dataset of image files; rows whose file cannot be read are left out of it and of its lists.

    Args:
      name: of the dataset.
      root: folder that the names are relative to.
      names: of the files, N of them.
      labels: ``[N]`` or ``[N, C]``.
      settings: DataSettings.
      lists: published splits.
      classes: names of the classes.
      ignored: what the source left out itself.

    Raises:
      UserError: see `load_images`.
    """
    images, rows, skipped = load_images(root, names, settings)
    place = np.full(len(names), -1, np.int64)
    place[rows] = np.arange(len(rows))
    kept = lambda part: (place[part])[place[part] >= 0]
    return Dataset(
        name=name,
        inputs=images,
        labels=labels[rows],
        lists={protocol: tuple(kept(part) for part in parts) for protocol, parts in (lists or {}).items()},
        paths=tuple(names[row] for row in rows),
        classes=classes,
        skipped=ignored + skipped,
        image_spec=ImageSpec(settings.image_size),
    )


class RowView:
    """Rows of an array that is mapped from a file, read when they are sliced.

    Attributes:
      ndim: number of axes of the array.
      shape: of the rows in view.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self._array, self._rows = array, rows
        self.ndim = array.ndim
        self.shape = (len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.asarray(self._array[self._rows[part]])


def select_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray | RowView:
    """Rows of an array: copied if it is in memory, read slice by slice if it is mapped from a file."""
    return RowView(array, rows) if isinstance(array, np.memmap) else array[rows]
