"""The directory of a run: its config, what it was computed from and by whom, and the stages that are finished."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from absl import logging
from filelock import FileLock

from drlhash_jax import __version__
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays, sha256_of, write_arrays, write_error, write_json
from drlhash_jax.runs.checkpoints import StageCheckpoints
from drlhash_jax.runs.lock import LOCK_FILES, lock_directory, unlock_directory
from drlhash_jax.runs.metric_writer import MetricWriter
from drlhash_jax.runs.processes import from_first_process, in_first_process, is_first_process
from drlhash_jax.runs.provenance import describe_session
from drlhash_jax.runs.stage_saver import StageSaver
from drlhash_jax.runs.stored_config import FORMAT, check_format, differing_fields, flatten_config, read_object
from drlhash_jax.types import Checkpoint

# Of a SHA-256, enough to tell two files apart on screen.
_SHOWN_DIGITS = 12


def _as_stored(value: object) -> object:
    """What a reader of the JSON file would see: tuples become lists."""
    return json.loads(json.dumps(value))


def _check_config(path: Path, config: dict) -> None:
    """Refuses a config.json of another run, of another format, or of something else; `config` is flat."""
    content = read_object(path)
    if "drlhash_jax" not in content or not isinstance(content.get("config"), dict):
        raise UserError(f"{path} is not a run's config: give another --workdir")
    check_format(path, content)
    if changes := differing_fields(flatten_config(content["config"]), config):
        raise UserError(f"--workdir={path.parent} holds a run with another config ({changes}): give another --workdir")


def _check_inputs(folder: Path, stored: dict[str, str], found: dict[str, str]) -> None:
    """Refuses to go on with data or labels that are not those that the run began with."""
    shown = lambda digest: f"{digest[:_SHOWN_DIGITS]}..." if digest else "not there"
    changed = [
        f"{name} changed since this run began (SHA-256 was {shown(stored.get(name))}, now {shown(found.get(name))})"
        for name in sorted(stored | found)
        if stored.get(name) != found.get(name)
    ]
    if changed:
        raise UserError(f"--workdir={folder}: {', '.join(changed)}; restore what changed, or give another --workdir")


class Workdir:
    """A run's directory, and its only writer. Opening one that holds the same config and inputs continues it.

    Where several processes share a run, process 0 alone reads and writes it, and decides what is finished. A context
    manager: leaving it lets another writer in.

    Attributes:
      path: the directory.
      config: as it is stored, a plain nested dict of JSON values.
      metrics: the run's scalars; writes nothing in other processes than the first.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        config: dict,
        stop_requested: Callable[[], str | None] = lambda: None,
        *,
        inputs: Mapping[str, str] | None = None,
    ):
        """Opens or creates the directory.

        Args:
          path: the directory.
          config: plain nested dict of JSON values, `checkpoint_seconds` and `seed` among them.
          stop_requested: the name of the signal that asks the run to stop, if one came.
          inputs: name of what the run is computed from (data, labels, a list, weights) -> SHA-256. Stored once, and
            compared whenever the run is continued.

        Raises:
          UserError: not writable, in use, holds something else, or holds a run of another format, with another config,
            or of other inputs; then nothing was written.
        """
        self.path = Path(path)
        self.config = _as_stored(config)
        self._flat_config = flatten_config(self.config)
        self._inputs = dict(inputs or {})
        self._stop_requested = stop_requested
        self._lock: FileLock | None = None
        # Content of run.json, in process 0.
        self._run: dict = {}
        self._session: int | None = None
        in_first_process(self._open)
        self.metrics = MetricWriter(self.path / "metrics.jsonl" if is_first_process() else None)

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets another writer in."""
        if self._lock:
            unlock_directory(self.path, self._lock)
            self._lock = None

    def _open(self) -> None:
        # Before the lock, so that what is refused is left as it is, and after it, since another may have been faster.
        self._find_run()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        self._lock = lock_directory(self.path)
        try:
            found = self._find_run()
            if found is None:
                write_json(self._file("config.json"), self._stamp() | {"config": self.config})
            # A kill may have come between the two files.
            self._run = found or self._stamp() | {"seed": self.config["seed"], "inputs": self._inputs}
            self._run |= {name: self._run.get(name, empty) for name, empty in (("stages", {}), ("sessions", []))}
            if not found:
                self._save_run()
        except BaseException:
            self.close()
            raise

    def _file(self, name: str) -> Path:
        return self.path / name

    def _stamp(self) -> dict:
        return {"drlhash_jax": __version__, "format": FORMAT}

    def _unusable(self, error: OSError | ValueError) -> UserError:
        if isinstance(error, OSError):
            return write_error(f"--workdir={self.path}", error)
        return UserError(f"--workdir={self.path} cannot be written: {error}")

    def _find_run(self) -> dict | None:
        """Content of run.json of the run that is there to be continued, {} if it has none yet; None without a run.

        Raises:
          UserError: the directory cannot be used.
        """
        try:
            there = self.path.exists()
            names = [entry.name for entry in self.path.iterdir()] if there and self.path.is_dir() else []
        except OSError as error:
            raise self._unusable(error) from error
        if there and not self.path.is_dir():
            raise UserError(f"--workdir={self.path} is a file: give a directory")
        if "config.json" not in names:
            # A kill before the first rename may have left a temporary file, which is ours, as the lock is.
            if not all(name.endswith(".tmp") or name in LOCK_FILES for name in names):
                raise UserError(f"--workdir={self.path} holds other files and no run: give an empty or new directory")
            return None
        _check_config(self._file("config.json"), self._flat_config)
        if "run.json" not in names:
            return {}
        run = read_object(self._file("run.json"))
        check_format(self._file("run.json"), run)
        _check_inputs(self.path, run.get("inputs", {}), self._inputs)
        return run

    def _save_run(self) -> None:
        write_json(self._file("run.json"), self._run)

    def record(self, **facts) -> None:
        """Adds facts about the run to run.json, which must be the same whenever the run is continued.

        Args:
          **facts: JSON values; what is there already is not written again.

        Raises:
          UserError: one of them was recorded otherwise.
        """

        def add() -> None:
            stored = _as_stored(facts)
            for name, value in stored.items():
                if self._run.get(name, value) != value:
                    raise UserError(
                        f"--workdir={self.path} holds a run with other {name} "
                        f"(was {self._run[name]}, now {value}): give another --workdir"
                    )
            if not stored.keys() <= self._run.keys():
                self._run |= stored
                self._save_run()

        in_first_process(add)

    def seconds(self, stage: str) -> float:
        """Wall time that a finished stage took, in seconds, over all its interruptions; known to process 0 only."""
        return self._run.get("stages", {}).get(stage, {"seconds": 0.0})["seconds"]

    @property
    def finished_stages(self) -> tuple[str, ...]:
        """Names of the stages that earlier sessions or this one finished, in that order; known to process 0 only."""
        return tuple(self._run.get("stages", {}))

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
          UserError: something cannot be written; what was saved before is still there.
        """
        belongs_to = self._flat_config | {f"inputs.{each}": digest for each, digest in self._inputs.items()}
        saved = StageCheckpoints(self._file("checkpoints") / name, belongs_to)
        finished = from_first_process(in_first_process(lambda: self._read_finished(name, saved)))
        if finished is not None:
            return finished
        saver = StageSaver(name, saved, self.metrics, self._flat_config["checkpoint_seconds"], self._stop_requested)
        in_first_process(self._begin_session)
        try:
            arrays = from_first_process(compute(Checkpoint(saver.restore, saver.offer)))
        except FloatingPointError as error:
            raise FloatingPointError(f"stage {name}: {error}") from error
        in_first_process(lambda: self._finish(name, arrays, saver, saved))
        return arrays

    def _begin_session(self) -> None:
        """Notes who computes, before the first thing that this process computes for the run."""
        if self._session is None:
            self._session = len(self._run["sessions"])
            self._run["sessions"].append(describe_session())
            self._save_run()

    def _arrays_file(self, name: str) -> Path:
        return self._file("checkpoints") / f"{name}.npz"

    def _read_finished(self, name: str, saved: StageCheckpoints) -> dict[str, np.ndarray] | None:
        """A finished stage's arrays; None if it has to run."""
        path = self._arrays_file(name)
        done = self._run["stages"].get(name)
        if not done or not path.is_file():
            return None
        if sha256_of(path) != done["sha256"]:
            logging.warning("%s is damaged (its SHA-256 differs from run.json): stage %s runs again", path, name)
            return None
        # A kill may have come between the end of the stage and the removal of its states.
        saved.clear()
        return read_arrays(path)

    def _finish(self, name: str, arrays: dict[str, np.ndarray], saver: StageSaver, saved: StageCheckpoints) -> None:
        path = self._arrays_file(name)
        write_arrays(path, arrays)
        self._run["stages"][name] = {
            "seconds": saver.seconds,
            "sha256": sha256_of(path),
            "session": self._session,
        }
        self._save_run()
        saved.clear()
