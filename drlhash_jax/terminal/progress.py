"""Progress of the stages: bars on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from types import TracebackType

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 10.0


class StageProgress:
    """Context manager that shows how far one stage is; writes to standard error, in process 0 only."""

    def __init__(self, title: str, total: int):
        self._title, self._total = title, total
        self._started = self._last = time.monotonic()
        self._note = ""
        self._bar = None
        self._silent = jax.process_index() != 0
        if not self._silent and sys.stderr.isatty():
            columns = TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(title, total=total, note="")

    def __enter__(self) -> "StageProgress":
        if self._bar:
            self._bar.start()
        return self

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` of the total steps are finished."""
        self._note = note
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
        elif not self._silent and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(f"{self._title}: {done} of {self._total} {note}".rstrip(), file=sys.stderr, flush=True)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            if kind is None:
                self._bar.update(self._task, completed=self._total)
            self._bar.stop()
        elif kind is None and not self._silent:
            seconds = time.monotonic() - self._started
            note = f", {self._note}" if self._note else ""
            print(f"{self._title}: done in {seconds:.1f} s{note}", file=sys.stderr, flush=True)
