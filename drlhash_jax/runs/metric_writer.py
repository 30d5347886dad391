"""Scalars of a run as JSON lines: ``{"stage": ..., "step": ..., name: value, ...}``."""

import contextlib
import json
import os
from pathlib import Path

from drlhash_jax.files import write_atomically, write_error


class MetricWriter:
    """Appends to one file; every line is whole on disk before the next is written."""

    def __init__(self, path: Path | None):
        """Nothing is written yet.

        Args:
          path: the file; None writes nothing, for processes that are not the first.
        """
        self._path = path

    def write(self, stage: str, step: int, **scalars: float) -> None:
        """Adds one line.

        Raises:
          UserError: it cannot be written; the lines before it are still whole.
        """
        if self._path is None:
            return
        row = {"stage": stage, "step": step} | {name: round(float(value), 6) for name, value in scalars.items()}
        size = self.size
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, size)
            raise write_error(self._path, error) from error

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._path.stat().st_size if self._path is not None and self._path.exists() else 0

    def cut(self, size: int) -> None:
        """Drops what was written after the file had this size."""
        if self.size > size:
            os.truncate(self._path, size)

    def forget(self, stage: str) -> None:
        """Drops the lines of a stage that was interrupted and starts again, and a half-written last line."""
        if not self.size:
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["stage"] != stage:
                    kept.append(line + "\n")
            except ValueError:
                continue
        write_atomically(self._path, lambda file: file.write("".join(kept).encode()))
