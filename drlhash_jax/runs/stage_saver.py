"""When a stage's state is saved, and where the stage goes on from."""

import time
from collections.abc import Callable
from typing import Any

from drlhash_jax.errors import RunStoppedError
from drlhash_jax.runs.checkpoints import SavedState, StageCheckpoints, from_arrays
from drlhash_jax.runs.metric_writer import MetricWriter
from drlhash_jax.runs.processes import any_process, from_first_process, in_first_process, is_first_process


class StageSaver:
    """The two halves of a `types.Checkpoint`, and the stage's clock.

    Process 0 alone reads and writes; all processes stop after the same step.
    """

    def __init__(
        self,
        stage: str,
        checkpoints: StageCheckpoints,
        metrics: MetricWriter,
        seconds_between: float,
        stop_requested: Callable[[], str | None],
    ):
        """Finds the newest saved state, and drops the metrics that came after it.

        Args:
          stage: its name.
          checkpoints: its saved states.
          metrics: the run's scalars.
          seconds_between: time between two saved states.
          stop_requested: the name of the signal that asks the run to stop, if one came.

        Raises:
          RunStoppedError: one came already.
          UserError: the saved state belongs to another configuration.
        """
        self._stage, self._checkpoints, self._metrics = stage, checkpoints, metrics
        self._seconds_between, self._stop_requested = seconds_between, stop_requested
        self._saved = in_first_process(self._find_saved)
        self._seconds_before = self._saved.facts["seconds"] if self._saved else 0.0
        self._started = self._last_saved = time.perf_counter()
        self._stop_if(*any_process(stop_requested() is not None))

    def _find_saved(self) -> SavedState | None:
        saved = self._checkpoints.newest()
        if saved:
            self._metrics.cut(saved.facts["metrics_size"])
        else:
            self._metrics.forget(self._stage)
        return saved

    @property
    def seconds(self) -> float:
        """Wall time that the stage took so far, what went into a saved state included."""
        return round(self._seconds_before + time.perf_counter() - self._started, 3)

    def restore(self, state: Any) -> Any:
        """The newest saved state, or the one that is given where there is none."""
        arrays = from_first_process(self._saved.arrays if self._saved else None)
        self._saved = None
        return state if arrays is None else from_arrays(state, arrays)

    def offer(self, position: int, state: Any) -> None:
        """Saves the state if it is time to, or if the run is to stop.

        Args:
          position: steps that it has done.
          state: pytree of arrays, equal in all processes.

        Raises:
          RunStoppedError: the run was asked to stop, and the state is saved.
          UserError: the state cannot be written.
        """
        due = is_first_process() and time.perf_counter() - self._last_saved >= self._seconds_between
        due, stop = any_process(due, self._stop_requested() is not None)
        if due or stop:
            facts = {"seconds": self.seconds, "metrics_size": self._metrics.size}
            in_first_process(lambda: self._checkpoints.save(position, state, facts))
            self._last_saved = time.perf_counter()
        self._stop_if(stop)

    def _stop_if(self, stop: bool) -> None:
        if stop:
            signal = self._stop_requested() or "a signal to another process"
            raise RunStoppedError(f"{signal}: stopped in stage {self._stage}; run the same command again to go on")
