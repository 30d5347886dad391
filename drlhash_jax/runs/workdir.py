"""The directory of a run: its config, its provenance, and the stages that are finished."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from absl import logging
from filelock import FileLock

from drlhash_jax import __version__
from drlhash_jax.runs.checkpoints import StageCheckpoints
from drlhash_jax.files import read_arrays, sha256_of, write_arrays, write_json
from drlhash_jax.runs.lock import LOCK_FILES, lock_directory, unlock_directory
from drlhash_jax.runs.metric_writer import MetricWriter
from drlhash_jax.runs.processes import from_first_process, in_first_process
from drlhash_jax.runs.stage_saver import StageSaver
from drlhash_jax.runs.stored_config import differing_fields, flatten_config
from drlhash_jax.errors import UserError
from drlhash_jax.types import Checkpoint

_RECORDED_PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "numpy", "scikit-learn")


def _git_revision() -> str | None:
    """Revision of the checkout that the package runs from; None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _versions() -> dict[str, str | None]:
    found = {"python": platform.python_version(), "drlhash_jax": __version__}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


class Workdir:
    """A run's directory, and its only writer. Opening one that holds the same config continues it.

    Where several processes share a run, process 0 alone reads and writes it, and decides what is finished. A context
    manager: leaving it lets another writer in.
    """

    def __init__(self, path: str | os.PathLike, config: dict, stop_requested: Callable[[], str | None] = lambda: None):
        """Opens or creates the directory.

        Args:
          path: the directory.
          config: plain nested dict of JSON values, `checkpoint_seconds` and `seed` among them.
          stop_requested: the name of the signal that asks the run to stop, if one came.

        Raises:
          UserError: not writable, in use, holds something else, or holds a run with another config.
        """
        self.path = Path(path)
        # Tuples become lists in JSON; compare what a reader would see.
        config = json.loads(json.dumps(config))
        self._flat_config = flatten_config(config)
        self._stop_requested = stop_requested
        self._first = jax.process_index() == 0
        self._lock, existed = in_first_process(self._open) or (None, False)
        if self._first and not existed:
            write_json(self.path / "config.json", {"drlhash_jax": __version__, "config": config})
        # A kill may have come between the two files.
        self._run = self._read("run.json") if existed and (self.path / "run.json").is_file() else {}
        self._run.setdefault("stages", {})
        self._run |= {
            "argv": sys.argv,
            "git_revision": _git_revision(),
            "versions": _versions(),
            "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
            "seed": config["seed"],
        }
        self._save_run()
        self.metrics = MetricWriter(self.path / "metrics.jsonl")

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets another writer in."""
        if self._lock:
            unlock_directory(self.path, self._lock)
            self._lock = None

    def _open(self) -> tuple[FileLock, bool]:
        """Checks the directory and locks it; also says whether a run is there to be continued."""
        self._check_folder()
        # Before the lock, so that what is refused is left as it is, and after it, since another may have been faster.
        self._check_config()
        lock = lock_directory(self.path)
        try:
            return lock, self._check_config()
        except UserError:
            unlock_directory(self.path, lock)
            raise

    def _check_folder(self) -> None:
        path = self.path
        if path.exists() and not path.is_dir():
            raise UserError(f"--workdir={path} is a file: give a directory")
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / ".write_probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UserError(f"--workdir={path} cannot be written: {error.strerror}") from error
        # A kill before the first rename may have left a temporary file, which is ours, as the lock is.
        ours = lambda name: name.endswith(".tmp") or name in LOCK_FILES
        if not (path / "config.json").exists() and not all(ours(entry.name) for entry in path.iterdir()):
            raise UserError(f"--workdir={path} holds other files and no run: give an empty or new directory")

    def _check_config(self) -> bool:
        """Whether a run is there to be continued."""
        path = self.path
        if not (path / "config.json").exists():
            return False
        try:
            stored = flatten_config(self._read("config.json")["config"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}/config.json is not a run's config: give another --workdir") from error
        if changes := differing_fields(stored, self._flat_config):
            raise UserError(f"--workdir={path} holds a run with another config ({changes}): give another --workdir")
        return True

    def _read(self, name: str) -> dict:
        return json.loads((self.path / name).read_text())

    def _save_run(self) -> None:
        if self._first:
            write_json(self.path / "run.json", self._run)

    def record(self, **facts) -> None:
        """Adds facts about the run to run.json."""
        self._run |= facts
        self._save_run()

    def record_once(self, **facts) -> None:
        """Adds facts that must be the same whenever the run is continued.

        Raises:
          UserError: one of them was recorded otherwise.
        """

        def check() -> None:
            for name, value in facts.items():
                if self._run.get(name, value) != value:
                    raise UserError(f"--workdir={self.path} holds a run with other {name}: give another --workdir")

        in_first_process(check)
        self.record(**facts)

    def seconds(self, stage: str) -> float:
        """Wall time that a finished stage took, in seconds, over all its interruptions; known to process 0 only."""
        return self._run["stages"].get(stage, {"seconds": 0.0})["seconds"]

    def stage(self, name: str, compute: Callable[[Checkpoint], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Computes a stage, from where it was interrupted if it was, or reads its arrays if it is finished.

        Args:
          name: of the stage, its file and its folder in checkpoints/.
          compute: takes the stage's Checkpoint, returns its arrays.

        Returns:
          The arrays.

        Raises:
          RunStoppedError: a stop was requested.
          FloatingPointError: from compute; the message begins with the stage's name.
        """
        finished = from_first_process(self._finished(name) if self._first else None)
        saved = StageCheckpoints(self.path / "checkpoints" / name, self._flat_config)
        if finished is not None:
            # A kill may have come between the end of the stage and the removal of its states.
            if self._first:
                saved.clear()
            return finished
        saver = StageSaver(name, saved, self.metrics, self._flat_config["checkpoint_seconds"], self._stop_requested)
        try:
            arrays = from_first_process(compute(Checkpoint(saver.restore, saver.offer)))
        except FloatingPointError as error:
            raise FloatingPointError(f"stage {name}: {error}") from error
        self._finish(name, arrays, saver.seconds)
        if self._first:
            saved.clear()
        return arrays

    def _arrays_file(self, name: str) -> Path:
        return self.path / "checkpoints" / f"{name}.npz"

    def _finished(self, name: str) -> dict[str, np.ndarray] | None:
        """A finished stage's arrays; None if it has to run."""
        path = self._arrays_file(name)
        done = self._run["stages"].get(name)
        if not done or not path.is_file():
            return None
        if sha256_of(path) == done["sha256"]:
            return read_arrays(path)
        logging.warning("%s is damaged (its SHA-256 differs from run.json): stage %s runs again", path, name)
        return None

    def _finish(self, name: str, arrays: dict[str, np.ndarray], seconds: float) -> None:
        path = self._arrays_file(name)
        if not self._first:
            return
        write_arrays(path, arrays)
        self._run["stages"][name] = {"seconds": seconds, "sha256": sha256_of(path)}
        self._save_run()
