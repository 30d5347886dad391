"""Many image files to one array of pixels: in memory, or decoded once into a file that is mapped."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings
from drlhash_jax.data.image_cache import StoredImages, through_cache
from drlhash_jax.data.images import ImageSpec, Skipped, UnreadableImageError, decode_image
from drlhash_jax.errors import UserError

MEMORY_LIMIT = 4 * 2**30
_FILES_PER_BLOCK = 1024
_FILES_PER_TASK = 16


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
        for start in range(0, len(paths), _FILES_PER_BLOCK):
            block = paths[start : start + _FILES_PER_BLOCK]
            try:
                yield from pool.map(_try_decode, block, [spec] * len(block), chunksize=_FILES_PER_TASK)
            except BrokenProcessPool as error:
                raise UserError(
                    f"--config.data.num_workers={num_workers}: a process that decodes images ended (out of memory?); "
                    "use fewer, or 0"
                ) from error


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
            f"{len(names)} images of {spec.size} pixels take {size / 2**30:.1f} GiB: set --config.data.cache to a file "
            "(.npy) on a disk with that much room, or a smaller --config.data.image_size"
        )
    decoded = _decode_all([root / name for name in names], spec, settings.num_workers)
    if settings.cache:
        stored = through_cache(Path(settings.cache), root, names, spec, decoded)
    else:
        stored = _hold(decoded, names, spec)
    if len(stored.skipped) > settings.max_skipped * len(names) or not len(stored.rows):
        path, reason = stored.skipped[0]
        raise UserError(
            f"{len(stored.skipped)} of {len(names)} image files under {root} cannot be read, first {path}: {reason}; "
            f"mend them, or allow more than --config.data.max_skipped={settings.max_skipped}"
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
    images, rows, skipped, digest = load_images(root, names, settings)
    place = np.full(len(names), -1, np.int64)
    place[rows] = np.arange(len(rows))
    kept = lambda part: (place[part])[place[part] >= 0]
    kept_lists = {protocol: tuple(kept(part) for part in parts) for protocol, parts in (lists or {}).items()}
    files = {
        "paths": tuple(names[row] for row in rows),
        "skipped": ignored + skipped,
        "image_spec": ImageSpec(settings.image_size),
        "inputs_digest": digest,
    }
    return Dataset(name, images, labels[rows], kept_lists, classes=classes, **files)
