"""Scalars of a run as JSON lines: ``{"stage": ..., "step": ..., name: value, ...}``."""

import json
import os
from pathlib import Path

import jax

from drlhash_jax.files import write_atomically


class MetricWriter:
    """Appends to one file; every line is whole on disk before the next is written. Process 0 only."""

    def __init__(self, path: Path):
        self._path = path

    def write(self, stage: str, step: int, **scalars: float) -> None:
        """Adds one line."""
        if jax.process_index() != 0:
            return
        row = {"stage": stage, "step": step} | {name: round(float(value), 6) for name, value in scalars.items()}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._path.stat().st_size if self._path.exists() else 0

    def cut(self, size: int) -> None:
        """Drops what was written after the file had this size; process 0 only."""
        if jax.process_index() == 0 and self.size > size:
            os.truncate(self._path, size)

    def forget(self, stage: str) -> None:
        """Drops the lines of a stage that was interrupted and starts again, and a half-written last line."""
        if not self._path.exists():
            return
        kept = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["stage"] != stage:
                    kept.append(line + "\n")
            except ValueError:
                continue
        if jax.process_index() == 0:
            write_atomically(self._path, lambda file: file.write("".join(kept).encode()))
