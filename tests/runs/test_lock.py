"""One workdir, one writer."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from drlhash_jax.errors import UserError
from drlhash_jax.runs import Workdir
from drlhash_jax.runs.lock import lock_directory, unlock_directory

HOLDER = """
import sys, time
from pathlib import Path
from drlhash_jax.runs.lock import lock_directory
lock = lock_directory(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_writer_is_refused_by_name(holder, tmp_path):
    with pytest.raises(UserError, match=f"is being written by process {holder.pid} on "):
        lock_directory(tmp_path)
    # Being refused leaves the first one's mark alone.
    assert json.loads((tmp_path / ".writer.json").read_text())["pid"] == holder.pid


def test_the_lock_of_a_killed_process_is_stale(holder, tmp_path, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    lock = lock_directory(tmp_path)
    assert f"process {holder.pid} on " in caplog.text and "ended without closing" in caplog.text
    assert json.loads((tmp_path / ".writer.json").read_text())["pid"] == os.getpid()
    unlock_directory(tmp_path, lock)
    assert not (tmp_path / ".writer.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "17"])
def test_a_damaged_mark_does_not_matter(content, tmp_path):
    (tmp_path / ".writer.json").write_text(content)
    unlock_directory(tmp_path, lock_directory(tmp_path))


def test_a_full_disk_is_one_line_and_the_lock_is_free(tmp_path, monkeypatch):
    def no_room(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", no_room)
        with pytest.raises(UserError, match=r"\.writer\.json cannot be written: No space left on device"):
            lock_directory(tmp_path)
    unlock_directory(tmp_path, lock_directory(tmp_path))


def test_a_file_has_no_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: "):
        lock_directory(tmp_path / "file")


def test_a_run_lets_the_next_one_in(tmp_path):
    config = {"seed": 0, "checkpoint_seconds": 60.0}
    with Workdir(tmp_path, config), pytest.raises(UserError, match=f"process {os.getpid()}"):
        Workdir(tmp_path, config)
    started = time.monotonic()
    Workdir(tmp_path, config).close()
    assert time.monotonic() - started < 30
