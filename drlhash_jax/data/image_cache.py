"""The file that keeps decoded images: a .npy that NumPy can map, which says in its header whose it is.

    256 bytes   header of a .npy, uint8 [n, size, size, 3], with a comment: the mark and the digest of the source
    the pixels
    JSON        {"digest": of the pixels, "rows": [...], "skipped": [[path, reason], ...], "spec": {...}}

Everything is in one file, which is renamed when it is whole, so that a kill never leaves half of a cache. A file
without the mark is somebody else's, and is never overwritten.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from drlhash_jax.codes.npy_files import read_header
from drlhash_jax.data.digests import finish_digest
from drlhash_jax.data.images import ImageSpec, Skipped
from drlhash_jax.errors import UserError

_HEADER_BYTES = 256
_MARK = re.compile(rb"\A\x93NUMPY.{2,300}?  # drlhash_jax image cache 1 ([0-9a-f]{64}) *\n\Z", re.DOTALL)


class StoredImages(NamedTuple):
    """Decoded files.

    Attributes:
      images: uint8 ``[n, size, size, 3]`` of the files that could be read, in their order.
      rows: int64 ``[n]``, their places in the list.
      skipped: the other files.
      digest: what `array_digest` gives of the images; "" where it was not taken.
    """

    images: np.ndarray
    rows: np.ndarray
    skipped: tuple[Skipped, ...]
    digest: str = ""


def source_digest(root: Path, names: list[str], spec: ImageSpec) -> str:
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


def _header(num_rows: int, spec: ImageSpec, source: str) -> bytes:
    """The first 256 bytes. NumPy reads the header as a Python literal, in which a comment says nothing."""
    fields = {"descr": "|u1", "fortran_order": False, "shape": (num_rows, spec.size, spec.size, 3)}
    text = f"{fields}  # drlhash_jax image cache 1 {source}"
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.ljust(_HEADER_BYTES - 11).encode() + b"\n"


def _source_of(cache: Path) -> str | None:
    """Digest of the source that a cache was made from; None if the file is not a cache."""
    with open(cache, "rb") as file:
        found = _MARK.match(file.read(_HEADER_BYTES))
    return found[1].decode() if found else None


def _check_ours(cache: Path) -> None:
    """Refuses a path where anything lies that would be lost, which a cache and an empty file are not."""
    try:
        status = cache.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"--config.data.cache={cache} is not a regular file: give the name of a file")
    if status.st_size and _source_of(cache) is None:
        raise UserError(
            f"--config.data.cache={cache} is there, and is not an image cache of this version of drlhash_jax: "
            "it is left as it is; give another name, or remove that file if you do not need it"
        )


def _read(cache: Path, source: str) -> StoredImages | None:
    """What the cache holds; None if it is missing, damaged, or made from another source."""
    try:
        if _source_of(cache) != source:
            return None
        with open(cache, "rb") as file:
            header = read_header(file, str(cache))
            file.seek(_HEADER_BYTES + header.num_bytes)
            facts = json.loads(file.read())
        rows, skipped = np.array(facts["rows"], np.int64), tuple(Skipped(*each) for each in facts["skipped"])
        digest = str(facts["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if len(rows) != header.shape[0]:
        return None
    return StoredImages(_map(cache, header.shape), rows, skipped, digest)


def _map(cache: Path, shape: tuple[int, ...]) -> np.ndarray:
    # Of an empty array there is nothing to map.
    return np.memmap(cache, np.uint8, "r", _HEADER_BYTES, shape) if shape[0] else np.empty(shape, np.uint8)


def _write(cache: Path, source: str, decoded: Iterator, names: list[str], spec: ImageSpec) -> StoredImages:
    """Appends image by image, so that a full disk is an error and not a crash; renames when all is there."""
    temporary = cache.with_name(f".{cache.name}.tmp")
    rows: list[int] = []
    skipped = []
    values = hashlib.sha256()
    try:
        with open(temporary, "wb") as file:
            file.write(_header(len(names), spec, source))
            for row, result in enumerate(decoded):
                if isinstance(result, str):
                    skipped.append(Skipped(names[row], result))
                    continue
                file.write(result.data)
                values.update(result.data)
                rows.append(row)
            shape = (len(rows), spec.size, spec.size, 3)
            digest = finish_digest(values, np.dtype(np.uint8), shape)
            facts = {"digest": digest, "rows": rows, "skipped": skipped, "spec": spec._asdict()}
            file.write(json.dumps(facts).encode())
            file.seek(0)
            file.write(_header(len(rows), spec, source))
            file.flush()
            os.fsync(file.fileno())
        # Decoding takes long enough for somebody to put a file there.
        _check_ours(cache)
        os.replace(temporary, cache)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return StoredImages(_map(cache, shape), np.array(rows, np.int64), tuple(skipped), digest)


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Holds the cache's lock, beside it; the operating system drops that of a process that is killed."""
    path = cache.with_name(f".{cache.name}.lock")
    cache.parent.mkdir(parents=True, exist_ok=True)
    # FileLock would try for ever where no file can be made, as in /proc.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    with FileLock(path):
        yield


def through_cache(
    cache: Path, root: Path, names: list[str], spec: ImageSpec, decoded: Iterator[np.ndarray | str]
) -> StoredImages:
    """Maps the images of a cache, which is written first if it is missing or was made from something else.

    Args:
      cache: the file.
      root: folder that the names are relative to.
      names: of the image files.
      spec: how they are decoded.
      decoded: pixels of each file, or why there are none; asked for only if the cache has to be written.

    Returns:
      StoredImages whose images are mapped.

    Raises:
      UserError: the file is not a cache, or cannot be written.
    """
    source = source_digest(root, names, spec)
    try:
        _check_ours(cache)
        # Of several processes that share the file one decodes, and the others wait for it.
        with _locked(cache):
            return _read(cache, source) or _write(cache, source, decoded, names, spec)
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--config.data.cache={cache} cannot be written: {reason}") from error
