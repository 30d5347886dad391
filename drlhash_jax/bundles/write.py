"""Bundles made and changed: every step is one rename, so that a kill at any moment leaves a whole bundle.

Parts (segments, lists of removed rows) are written under another name, forced to the disk and renamed; only then does
the manifest name them, which is replaced as a whole. What a killed writer left behind is removed by the next one.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from drlhash_jax.bundles.bundle import check_padding, open_bundle
from drlhash_jax.bundles.ids import check_ids, pack_ids
from drlhash_jax.bundles.manifest import Manifest, Part, StoredFile, locate, read_manifest, write_manifest
from drlhash_jax.bundles.verify import check_bundle
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of, write_atomically, write_error

_LEFT_BEHIND = re.compile(r"\.(segment|removed)-\d+\.tmp|(segment|removed)-\d{6,}|\.manifest\.json\.tmp")


def sync_folder(folder: Path) -> None:
    """Forces the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _whole_folder(folder: Path, temporary: Path) -> Iterator[None]:
    """Lets the caller fill `temporary`, which then becomes `folder`, or is removed if anything is raised."""
    try:
        temporary.mkdir(parents=True)
        yield
        sync_folder(temporary)
        os.rename(temporary, folder)
        sync_folder(folder.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise write_error(folder, error) from error
        raise


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[Manifest]:
    """Holds a bundle's lock, removes what a killed writer left, and gives the manifest."""
    read_manifest(folder)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            # The system drops the lock of a process that is killed.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder} is being written by another process: wait for it") from error
        except OSError as error:
            raise write_error(folder, error) from error
        # Read again: another writer may have changed it before it let go.
        manifest = read_manifest(folder)
        _clean(folder, manifest)
        yield manifest


def _clean(folder: Path, manifest: Manifest) -> None:
    """Removes parts that the manifest does not name."""
    named = {part.folder for part in manifest.parts}
    for entry in list(os.scandir(folder)):
        if _LEFT_BEHIND.fullmatch(entry.name) and entry.name not in named:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


Contents = dict[str, np.ndarray | bytes]


def _write_file(path: Path, content: np.ndarray | bytes) -> StoredFile:
    if isinstance(content, bytes):
        write_atomically(path, lambda file: file.write(content))
    else:
        write_atomically(path, lambda file: np.save(file, content, allow_pickle=False))
    return StoredFile(path.stat().st_size, sha256_of(path))


def _write_part(folder: Path, kind: str, number: int, rows: int, contents: Contents) -> Part:
    """Writes a part: arrays as .npy, bytes as they are.

    Raises:
      UserError: it cannot be written; nothing of it is left.
    """
    part = Part(kind, number, rows, {})
    temporary = folder / f".{part.folder}.tmp"
    with _whole_folder(folder / part.folder, temporary):
        for name, content in contents.items():
            part.files[name] = _write_file(temporary / name, content)
    return part


def create_bundle(
    path: str | Path, num_bits: int, role: str | None = None, model: dict | None = None, logits: bool = False
) -> None:
    """Makes a bundle without rows.

    Args:
      path: its directory, by custom ``NAME.drlh``; must not exist.
      num_bits: K.
      role: "query" or "database" where a model codes the two apart.
      model: facts about the model, JSON values, "sha256" among them.
      logits: whether rows come with their logits.

    Raises:
      UserError: there is something already, or it cannot be written.
    """
    folder = Path(os.path.abspath(path))
    if os.path.lexists(folder):
        raise UserError(f"{path} is there already: give another name, or --append if it is a bundle to be added to")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with _whole_folder(folder, temporary):
        write_manifest(temporary, Manifest(num_bits, role, model, logits))


def _check_rows(folder: Path, num_bits: int, packed: np.ndarray, ids: Sequence[str]) -> None:
    width = -(-num_bits // 8)
    if packed.dtype != np.uint8 or packed.shape != (len(ids), width):
        raise UserError(
            f"codes for {folder} are {packed.dtype} {list(packed.shape)}: {len(ids)} ids of {num_bits} bits take uint8 "
            f"[{len(ids)}, {width}]"
        )
    if not len(ids):
        raise UserError(f"{folder}: no rows to add")
    check_padding(packed, num_bits, f"codes for {folder}")
    check_ids(ids, str(folder))


def _check_logits(folder: Path, manifest: Manifest, logits: np.ndarray | None, num_rows: int) -> None:
    if manifest.has_logits != (logits is not None):
        raise UserError(
            f"rows of {folder} come {'with' if manifest.has_logits else 'without'} logits, so must new ones"
        )
    if logits is None:
        return
    if logits.dtype != np.float16 or logits.shape != (num_rows, manifest.num_bits) or not np.isfinite(logits).all():
        raise UserError(f"logits for {folder}: give finite float16 [{num_rows}, {manifest.num_bits}]")


def append_rows(
    path: str | Path,
    packed: np.ndarray,
    ids: Sequence[str],
    skipped: Sequence[dict] = (),
    logits: np.ndarray | None = None,
) -> None:
    """Adds rows to a bundle, as one segment: all of them or none.

    Args:
      path: the bundle.
      packed: codes uint8 ``[n, ceil(K / 8)]``, first bit highest, zero at the end, as `numpy.packbits` makes them.
      ids: of the rows; not those of rows that are there.
      skipped: what was left out, as JSON values for skipped.jsonl.
      logits: float16 ``[n, K]`` that the codes are signs of, for a bundle of rows with logits; else None.

    Raises:
      UserError: rows that do not fit the bundle, or it cannot be written; it stays as it was.
    """
    lines = "".join(json.dumps(each, allow_nan=False) + "\n" for each in skipped)
    append_segment(Path(path), packed, ids, lines.encode(), logits)


def append_segment(
    folder: Path, packed: np.ndarray, ids: Sequence[str], skipped: bytes, logits: np.ndarray | None
) -> None:
    """`append_rows` with the content of skipped.jsonl, which nobody looks into."""
    with only_writer(folder) as manifest:
        _check_rows(folder, manifest.num_bits, packed, ids)
        _check_logits(folder, manifest, logits, len(ids))
        if there := set(ids).intersection(open_bundle(folder).ids()):
            first = next(each for each in ids if each in there)
            raise UserError(f"{folder} has a row with the id {first} already: remove it first")
        text, offsets = pack_ids(ids)
        contents: Contents = {"codes.npy": np.ascontiguousarray(packed), "ids.npy": text, "id_offsets.npy": offsets}
        contents |= {} if logits is None else {"logits.npy": np.ascontiguousarray(logits)}
        contents |= {"skipped.jsonl": skipped} if skipped else {}
        part = _write_part(folder, "segment", manifest.next_number, len(ids), contents)
        write_manifest(folder, manifest._replace(segments=(*manifest.segments, part)))


def remove_rows(path: str | Path, ids: Sequence[str]) -> int:
    """Takes rows out of a bundle; their codes stay on the disk until `compact_bundle`.

    Args:
      path: the bundle.
      ids: of the rows, each of which must be there.

    Returns:
      Number of rows that are left.

    Raises:
      UserError: there is no row with one of the ids, or it cannot be written; the bundle stays as it was.
    """
    folder = Path(path)
    with only_writer(folder) as manifest:
        bundle = open_bundle(folder)
        check_ids(ids, str(folder))
        rows = {name: row for row, name in enumerate(bundle.ids())}
        if missing := [name for name in ids if name not in rows]:
            raise UserError(f"{folder} has no row with the id {missing[0]}; nothing was removed")
        kept = np.delete(bundle.stored, [rows[name] for name in ids])
        removed = np.delete(np.arange(manifest.stored_rows), kept)
        if len(ids):
            part = _write_part(folder, "removed", manifest.next_number, len(removed), {"rows.npy": removed})
            write_manifest(folder, manifest._replace(removed=part))
            _clean(folder, read_manifest(folder))
        return len(kept)


def skipped_lines(folder: Path, manifest: Manifest) -> bytes:
    """What all segments of a bundle left out, one JSON value a line."""
    parts = [part for part in manifest.segments if "skipped.jsonl" in part.files]
    return b"".join(locate(folder, part, "skipped.jsonl").read_bytes() for part in parts)


def compact_bundle(path: str | Path) -> int:
    """Writes all segments of a bundle as one, without removed rows.

    Args:
      path: the bundle.

    Returns:
      Number of its rows.

    Raises:
      UserError: a file is damaged, or it cannot be written; the bundle stays as it was.
    """
    folder = Path(path)
    with only_writer(folder) as manifest:
        check_bundle(folder)
        bundle = open_bundle(folder)
        ids = bundle.ids()
        segments: tuple[Part, ...] = ()
        if ids:
            text, offsets = pack_ids(ids)
            contents: Contents = {"codes.npy": bundle.codes, "ids.npy": text, "id_offsets.npy": offsets}
            if manifest.has_logits:
                contents["logits.npy"] = bundle.logits_of(np.arange(len(ids)))
            skipped = skipped_lines(folder, manifest)
            contents |= {"skipped.jsonl": skipped} if skipped else {}
            segments = (_write_part(folder, "segment", manifest.next_number, len(ids), contents),)
        manifest = manifest._replace(segments=segments, removed=None)
        write_manifest(folder, manifest)
        _clean(folder, manifest)
        return len(ids)
