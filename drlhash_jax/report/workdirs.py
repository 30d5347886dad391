"""Finished runs on disk: where they are, what they wrote beside metrics.json, and their data once more."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data
from drlhash_jax.io import load_codes, read_arrays
from drlhash_jax.report.tables import Run, read_json, read_run
from drlhash_jax.types import UserError

_DATA_FIELDS = ("labels_path", "image_size", "cache", "num_workers", "max_skipped")


class Record(NamedTuple):
    """A finished run.

    Attributes:
      path: its directory.
      run: its result rows, their definitions and its configuration.
      facts: run.json; empty if there is none.
      selection: selection.json; empty if the run ended before it.
      curves: number of bits -> scalar of PPO -> float64 ``[updates]``, from metrics.jsonl.
    """

    path: Path
    run: Run
    facts: dict
    selection: dict
    curves: dict[int, dict[str, np.ndarray]]

    @property
    def orders(self) -> dict[tuple[int, str], list[list[int]]]:
        """(bits, selector) -> chosen pool positions of each draw."""
        return {(row["bits"], row["selector"]): row["orders"] for row in self.selection.get("selections", [])}


class Coded(NamedTuple):
    """Codes and labels of what a run searched with and in.

    Attributes:
      dataset: the run's data, loaded again.
      rows: part of the split -> row numbers in the dataset.
      query: uint8 {0, 1} ``[Q, K]``, the pool's codes.
      database: uint8 {0, 1} ``[N, K]``.
      query_labels: int32 ``[Q]`` or uint8 ``[Q, C]``.
      database_labels: int32 ``[N]`` or uint8 ``[N, C]``.
    """

    dataset: data.Dataset
    rows: Mapping[str, np.ndarray]
    query: np.ndarray
    database: np.ndarray
    query_labels: np.ndarray
    database_labels: np.ndarray


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file() or (path / "metrics.json").is_file()


def find_runs(folders: Sequence[str]) -> list[Path]:
    """Directories of runs, given one by one or as folders of runs.

    Args:
      folders: each a run's directory, or a folder with such directories in it.

    Returns:
      In the order given, those of a folder by name.

    Raises:
      UserError: not there, no runs in it, or a run that is not finished.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"--runs: {folder} is {'a file' if folder.exists() else 'not there'}: give directories")
        runs = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if _is_run(path))
        if not runs:
            raise UserError(f"--runs: {folder} is no run, and there is none in it (no config.json or metrics.json)")
        found += runs
    for path in found:
        if not (path / "metrics.json").is_file():
            raise UserError(
                f"--runs: {path} has no metrics.json: the run is not finished, or has no results; "
                "finish it by its own command, or leave it out"
            )
    return found


def _read_curves(path: Path) -> dict[int, dict[str, np.ndarray]]:
    """Scalars of PPO by number of bits; lines that are no such scalars are passed over."""
    steps: dict[int, dict[int, dict[str, float]]] = {}
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            stage, step = row.pop("stage").split("_"), row.pop("step")
        except (ValueError, KeyError, AttributeError):
            continue
        if stage[0] == "selection" and stage[2:] == ["ppo"] and stage[1].isdigit():
            steps.setdefault(int(stage[1]), {})[step] = row
    return {
        bits: {name: np.array([by_step[step][name] for step in sorted(by_step)]) for name in by_step[min(by_step)]}
        for bits, by_step in steps.items()
    }


def read_record(path: Path) -> Record:
    """Reads everything that a run says but its codes.

    Args:
      path: the run's directory.

    Returns:
      Record.

    Raises:
      UserError: as in `read_run`.
    """
    path = Path(path)
    optional = lambda name: read_json(path / name) if (path / name).is_file() else {}
    return Record(
        path, read_run(path), optional("run.json"), optional("selection.json"), _read_curves(path / "metrics.jsonl")
    )


@functools.lru_cache(maxsize=1)
def _load_dataset(source: str, settings: tuple[tuple[str, object], ...]) -> data.Dataset:
    """Runs that differ in the seed follow one another and share their data."""
    return data.load_dataset(source, **dict(settings))


def load_pool(path: Path, part: str) -> np.ndarray:
    """The pool's codes of a part of the split, "query" or "database": uint8 {0, 1} ``[., K]``.

    Raises:
      UserError: the run stored none.
    """
    stem = path / "codes" / part
    try:
        return load_codes(stem.with_suffix(".npy"), read_json(stem.with_suffix(".json"))["bits"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} has no codes of its {part} rows: {error}") from error


def load_trained(path: Path, bits: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes of query and database by the encoder trained at this length; None if its checkpoint is gone."""
    try:
        with np.load(path / "checkpoints" / f"mapping_{bits:03d}.npz", allow_pickle=False) as arrays:
            return arrays["query"], arrays["database"]
    except (OSError, ValueError, KeyError):
        return None


def load_coded(record: Record) -> Coded:
    """The pool's codes of a run with the labels of their rows, which a run does not store: its data are read again.

    Args:
      record: Record.

    Returns:
      Coded.

    Raises:
      UserError: codes, split, configuration or data are not there, or other data lie where the run's were.
    """
    path, config = record.path, record.run.config
    query, database = load_pool(path, "query"), load_pool(path, "database")
    if config is None or not (path / "split.npz").is_file():
        raise UserError(f"{path} has no {'split.npz' if config else 'config.json'}")
    if config.get("data.source") not in data.SOURCES:
        raise UserError(f"{path}: its source of data, {config.get('data.source')!r}, is unknown here")
    settings = {field: config[f"data.{field}"] for field in _DATA_FIELDS if f"data.{field}" in config}
    dataset = _load_dataset(config["data.source"], tuple(({"path": config["data.path"]} | settings).items()))
    rows = read_arrays(path / "split.npz")
    names = {row["dataset"] for row in record.run.rows}
    fits = len(rows["query"]) == len(query) and len(rows["database"]) == len(database)
    if not fits or names != {dataset.name} or max(part.max() for part in rows.values()) >= len(dataset.labels):
        raise UserError(f"{path}: {dataset.name} with {len(dataset.labels)} rows is not what the run was made of")
    labels = dataset.labels
    return Coded(dataset, rows, query, database, labels[rows["query"]], labels[rows["database"]])
