"""One writer per directory: a lock that ends with its process, however that ends."""

import json
import os
import socket
from pathlib import Path

from absl import logging
from filelock import FileLock, Timeout

from drlhash_jax.errors import UserError
from drlhash_jax.files import write_error, write_json
from drlhash_jax.runs.stored_config import FORMAT, check_format, config_changes, read_object

_LOCK, _WRITER = ".lock", ".writer.json"
LOCK_FILES = (_LOCK, _WRITER)


def _read_writer(path: Path) -> dict:
    try:
        writer = json.loads(path.read_text())
        return writer if isinstance(writer, dict) else {}
    except (OSError, ValueError):
        return {}


def lock_directory(folder: Path) -> FileLock:
    """Makes this process the directory's only writer until the lock is released or the process ends.

    The operating system drops the lock of a process that is killed, so a stale one cannot keep anybody out; the file
    beside it only says who the writer is.

    Args:
      folder: an existing directory.

    Returns:
      The lock, held.

    Raises:
      UserError: another process holds it, and the message names it; or nothing can be written there.
    """
    lock, writer_path = FileLock(folder / _LOCK, thread_local=False), folder / _WRITER
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        writer = _read_writer(writer_path)
        who = f"process {writer.get('pid', 'unknown')} on {writer.get('host', 'an unknown host')}"
        raise UserError(f"--workdir={folder} is being written by {who}: wait for it, or give another") from error
    except OSError as error:
        raise write_error(folder / _LOCK, error) from error
    left = _read_writer(writer_path)
    if left:
        logging.warning("%s: process %s on %s ended without closing it", folder, left.get("pid"), left.get("host"))
    try:
        writer_path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    except OSError as error:
        unlock_directory(folder, lock)
        raise write_error(writer_path, error) from error
    return lock


def unlock_directory(folder: Path, lock: FileLock) -> None:
    """Ends what `lock_directory` began."""
    (folder / _WRITER).unlink(missing_ok=True)
    lock.release()


def claim_directory(folder: Path, name: str, config: dict, kind: str) -> FileLock:
    """Makes a directory that of many runs with one configuration, and this process its only writer.

    Args:
      folder: created if needed.
      name: of the file that the configuration is kept in.
      config: nested dictionaries of JSON values.
      kind: what is in such a directory, for messages.

    Returns:
      The lock, held; see `unlock_directory`.

    Raises:
      UserError: it holds other files, or the same with another configuration; or it cannot be written.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            stored = read_object(path)
            check_format(path, stored)
            if differing := config_changes(stored["config"], config):
                raise UserError(f"--workdir={folder} holds another {kind}: {differing}; give another directory")
        elif any(each.name not in LOCK_FILES for each in folder.iterdir()):
            raise UserError(f"--workdir={folder} holds other files and no {kind}: give an empty or new directory")
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be made: {error.strerror}") from error
    lock = lock_directory(folder)
    try:
        write_json(path, {"format": FORMAT, "config": config})
    except BaseException:
        unlock_directory(folder, lock)
        raise
    return lock
