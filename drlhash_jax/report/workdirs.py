"""Finished runs on disk: where they are, what they wrote beside metrics.json, and their data once more."""

import functools
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data
from drlhash_jax.codes import load_codes
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays
from drlhash_jax.report.tables import Run, read_json, read_run

# Scalars of metrics.jsonl that learning curves show.
CURVES = ("mean_reward", "mode_reward", "best_reward")


class Record(NamedTuple):
    """A finished run.

    Attributes:
      path: its directory.
      run: its result rows, their definitions and its configuration.
      facts: run.json; empty if there is none.
      selection: selection.json; empty if the run ended before it.
      curves: number of bits -> scalar of PPO -> float64 ``[updates]``, from metrics.jsonl.
      pool: codes of the database, all bits, uint8 {0, 1} ``[N, K]``; None if they are not there.
    """

    path: Path
    run: Run
    facts: dict
    selection: dict
    curves: dict[int, dict[str, np.ndarray]]
    pool: np.ndarray | None

    @property
    def pool_bits(self) -> int:
        """K; an encoder trained at a shorter length is a pool of its own in its result row."""
        return max(row["pool_bits"] for row in self.run.rows)

    @property
    def orders(self) -> dict[tuple[int, str], list[list[int]]]:
        """(bits, selector) -> chosen pool positions of each draw; shorter codes first."""
        rows = sorted(self.selection.get("selections", []), key=lambda row: row["bits"])
        return {(row["bits"], row["selector"]): row["orders"] for row in rows}

    @property
    def main_selector(self) -> str | None:
        """PPO, or the first selector that there is; None without any."""
        selectors = [selector for _, selector in self.orders]
        return "ppo" if "ppo" in selectors else next(iter(selectors), None)

    @property
    def lengths(self) -> list[int]:
        """Numbers of bits that the main selector chose, fewest first."""
        return [bits for bits, selector in self.orders if selector == self.main_selector]

    def evaluations(self, bits: int, selector: str) -> int:
        """Rewards that a selection computed."""
        rows = self.selection["selections"]
        return next(row["map_evaluations"] for row in rows if (row["bits"], row["selector"]) == (bits, selector))


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
    """PPO's rewards by number of bits; lines that are no such scalars are passed over."""
    steps: dict[int, dict[int, list[float]]] = {}
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            stage, step, values = row["stage"].split("_"), row["step"], [float(row[name]) for name in CURVES]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if stage[0] == "selection" and stage[2:] == ["ppo"] and stage[1].isdigit():
            steps.setdefault(int(stage[1]), {})[step] = values
    return {
        bits: dict(zip(CURVES, np.array([by_step[step] for step in sorted(by_step)]).T))
        for bits, by_step in steps.items()
    }


def _read_selection(path: Path) -> dict:
    selection = read_json(path)
    try:
        for row in selection["selections"]:
            if not all(row[field] for field in ("bits", "selector", "orders", "rewards")):
                raise ValueError(f"a row is {row}")
            int(row["map_evaluations"])
        float(selection["reward"]["all_bits"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not as a run writes it: {error}") from error
    return selection


def _read_codes(path: Path) -> np.ndarray | None:
    """Codes with the number of their bits beside them; None if they are not there, or damaged."""
    try:
        codes = load_codes(path.with_suffix(".npy"), read_json(path.with_suffix(".json"))["bits"])
    except (OSError, ValueError, KeyError):
        return None
    return codes if len(codes) > 1 else None


def read_record(path: Path) -> Record:
    """Reads everything that a run says, and the codes of its database.

    Args:
      path: the run's directory.

    Returns:
      Record.

    Raises:
      UserError: as in `read_run`; no result rows, or a file that is not as a run writes it.
    """
    path = Path(path)
    run = read_run(path)
    if not run.rows:
        raise UserError(f"{path}/metrics.json holds no result rows")
    optional = lambda name, read: read(path / name) if (path / name).is_file() else {}
    return Record(
        path,
        run,
        optional("run.json", read_json),
        optional("selection.json", _read_selection),
        _read_curves(path / "metrics.jsonl"),
        _read_codes(path / "codes" / "database"),
    )


@functools.lru_cache(maxsize=1)
def _load_dataset(source: str, settings: tuple[tuple[str, object], ...]) -> data.Dataset:
    """Runs that differ in the seed follow one another and share their data."""
    return data.load_dataset(source, **dict(settings))


def load_trained(path: Path, bits: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes of query and database by the encoder trained at this length; None if its checkpoint is gone."""
    try:
        with np.load(path / "checkpoints" / f"encoder_{bits:03d}.npz", allow_pickle=False) as arrays:
            return arrays["query"], arrays["database"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
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
    query, database = _read_codes(path / "codes" / "query"), record.pool
    if query is None or database is None:
        raise UserError("The codes of its queries or its database are not there")
    if config is None or config.get("data.source") not in data.SOURCES:
        raise UserError("There is no config.json that names its data")
    settings = {field: config[f"data.{field}"] for field in data.DataSettings._fields if f"data.{field}" in config}
    try:
        dataset = _load_dataset(config["data.source"], tuple(settings.items()))
        rows = read_arrays(path / "split.npz")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"Its data cannot be loaded: {error}") from error
    needed = max(int(part.max(initial=0)) for part in rows.values()) + 1
    fits = len(rows["query"]) == len(query) and len(rows["database"]) == len(database)
    if not fits or needed > len(dataset.labels) or record.run.rows[0]["dataset"] != dataset.name:
        raise UserError(f"{dataset.name} with {len(dataset.labels)} rows is not what the run was made of")
    labels = dataset.labels
    return Coded(dataset, rows, query, database, labels[rows["query"]], labels[rows["database"]])
