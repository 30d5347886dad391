"""Progress of the stages: bars on a terminal, plain lines every few seconds elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 10.0
# Before its first step a stage mostly compiles; where that takes longer, a line says so.
_SECONDS_BEFORE_COMPILING = 3.0
_COMPILING = "compiling"


def run_line(workdir: str, stages: Sequence[str], finished: Collection[str]) -> str:
    """Says where a run is and how far, before its first stage.

    Args:
      workdir: the run's directory.
      stages: names of all stages in their order.
      finished: names of those that are not computed again.
    """
    left = [stage for stage in stages if stage not in finished]
    if not left:
        return f"run in {workdir}: all {len(stages)} stages are finished, nothing is computed again"
    if len(left) == len(stages):
        return f"run in {workdir}: {len(stages)} stages"
    return f"run in {workdir} goes on: {len(stages) - len(left)} of {len(stages)} stages are finished, next {left[0]}"


def stage_title(title: str, place: tuple[int, int] | None) -> str:
    """A stage's title with its place (n, m) among the stages of a run: "3/23 encoder, 64 bits"."""
    return title if place is None else f"{place[0]}/{place[1]} {title}"


class StageProgress:
    """Context manager that shows how far one stage is; writes to standard error.

    Until the first `update` the stage is said to compile.
    """

    def __init__(self, title: str, total: int, *, place: tuple[int, int] | None = None, shown: bool = True):
        """Nothing is shown before the context is entered.

        Args:
          title: of the stage.
          total: its steps.
          place: (n, m), where the stage is the n-th of m.
          shown: False in processes whose output nobody reads.
        """
        self._title, self._total = stage_title(title, place), total
        self._started = self._last = time.monotonic()
        self._note = ""
        self._shown, self._bar = shown, None
        self._compiling = threading.Timer(_SECONDS_BEFORE_COMPILING, self._print, (f"{self._title}: {_COMPILING}",))
        self._compiling.daemon = True
        if shown and sys.stderr.isatty():
            columns = TextColumn("{task.description:<26}", markup=False), BarColumn(), MofNCompleteColumn()
            note = TextColumn("{task.fields[note]}", markup=False)
            self._bar = Progress(*columns, TimeElapsedColumn(), note, console=Console(stderr=True))
            self._task = self._bar.add_task(self._title, total=total, note=_COMPILING)

    def __enter__(self) -> "StageProgress":
        if self._bar:
            self._bar.start()
        elif self._shown:
            self._compiling.start()
        return self

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` of the total steps are finished."""
        self._compiling.cancel()
        self._note = note
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
        elif self._shown and time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._print(f"{self._title}: {done} of {self._total} {note}".rstrip())

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._compiling.cancel()
        if self._bar:
            if kind is None:
                self._bar.update(self._task, completed=self._total)
            self._bar.stop()
        elif kind is None and self._shown:
            seconds = time.monotonic() - self._started
            note = f", {self._note}" if self._note else ""
            self._print(f"{self._title}: done in {seconds:.1f} s{note}")

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def counted_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of a stage that learns how much it has to do: a function of what is done and of the total.

    Nothing is shown before its first call, so that what is refused gets one line.
    """
    with contextlib.ExitStack() as stack:
        started: list[StageProgress] = []

        def show(done: int, total: int) -> None:
            if not started:
                started.append(stack.enter_context(StageProgress(title, total)))
            if done:
                started[0].update(done)

        yield show
