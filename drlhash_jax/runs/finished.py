"""A finished run read back from its directory: what it says, its codes, and the data that it was made of.

The one reader of such directories. It opens what a run publishes (config.json, run.json, metrics.json, metrics.jsonl,
selection.json, split.npz and codes/), never the files in which its stages keep their states.
"""

import dataclasses
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data
from drlhash_jax.codes.code_files import load_codes, read_code_facts
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays
from drlhash_jax.runs.stored_config import check_format, flatten_config, read_object

ROLES = ("pool", "selected", "direct")
# Scalars of PPO in metrics.jsonl.
REWARDS = ("mean_reward", "mode_reward", "best_reward")
_ROW_FIELDS = (
    *("method", "role", "selector", "bits", "pool_bits", "dataset", "protocol", "seed", "encoder"),
    *("map", "map_at", "n_database"),
)


class FinishedRun(NamedTuple):
    """What a run says.

    Attributes:
      path: its directory.
      config: its configuration, names of nested fields joined by dots.
      facts: content of run.json.
      rows: result rows of metrics.json, at least one.
      definitions: field of a row -> meaning.
      selection: content of selection.json; empty where no bits were chosen.
    """

    path: Path
    config: dict[str, object]
    facts: dict
    rows: list[dict]
    definitions: dict[str, str]
    selection: dict

    @property
    def pool(self) -> dict:
        """The result row of all bits."""
        return next(row for row in self.rows if row["role"] == "pool")

    @property
    def orders(self) -> dict[tuple[int, str], list[list[int]]]:
        """(bits, selector) -> pool positions that each draw chose, best first; shorter codes first."""
        rows = sorted(self.selection.get("selections", []), key=lambda row: row["bits"])
        return {(row["bits"], row["selector"]): row["orders"] for row in rows}

    @property
    def main_selector(self) -> str | None:
        """PPO, or the first selector of a run without it; None where no bits were chosen."""
        selectors = [selector for _, selector in self.orders]
        return "ppo" if "ppo" in selectors else next(iter(selectors), None)

    @property
    def lengths(self) -> list[int]:
        """Numbers of bits that the main selector chose, fewest first."""
        return [bits for bits, selector in self.orders if selector == self.main_selector]

    def selected(self, bits: int, selector: str) -> dict | None:
        """The row of selection.json: orders, rewards and number of rewards computed; None if there is none."""
        rows = self.selection.get("selections", [])
        return next((row for row in rows if (row["bits"], row["selector"]) == (bits, selector)), None)


class RunData(NamedTuple):
    """The data that a run was made of, loaded again.

    Attributes:
      dataset: Dataset.
      split: Split.
    """

    dataset: data.Dataset
    split: data.Split

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """ "query", "train" and "database" -> row numbers in the dataset, int64 each."""
        return {part: getattr(self.split, part) for part in ("query", "train", "database")}

    def labels(self, part: str) -> np.ndarray:
        """Labels of a part of the split, of queries those that they are judged by: ``[n]``, or multi-hot ``[n, C]``."""
        if part == "query":
            return data.query_labels(self.dataset.labels, self.split)
        return self.dataset.labels[self.rows[part]]


def _check_fields(path: Path, content: dict, *needed: str) -> None:
    if missing := [field for field in needed if field not in content]:
        raise UserError(f"{path} has no field {missing[0]}: it is damaged, or no run wrote it")


def _check_rows(path: Path, rows: object) -> list[dict]:
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} holds no result rows")
    for number, row in enumerate(rows):
        missing = [field for field in _ROW_FIELDS if not isinstance(row, dict) or field not in row]
        if missing:
            raise UserError(f"{path}, row {number}: no field {', '.join(missing)}")
        if row["role"] not in ROLES:
            raise UserError(f"{path}, row {number}: role {row['role']!r} is none of {', '.join(ROLES)}")
        if not all(isinstance(row[field], int) for field in ("bits", "pool_bits", "seed")):
            raise UserError(f"{path}, row {number}: bits, pool_bits and seed must be whole numbers")
    if sum(row["role"] == "pool" for row in rows) != 1:
        raise UserError(f"{path} must have one row of role pool")
    return rows


def _read_selection(path: Path, pool_bits: int) -> dict:
    """Content of selection.json, checked; empty if the file is not there."""
    if not path.is_file():
        return {}
    selection = read_object(path)
    try:
        for row in selection["selections"]:
            orders = np.array(row["orders"])
            fits = orders.shape == (len(row["rewards"]), row["bits"]) and isinstance(row["selector"], str)
            if not fits or orders.dtype.kind != "i" or orders.min() < 0 or orders.max() >= pool_bits:
                raise ValueError(f"{row['bits']} bits by {row['selector']} are not positions in {pool_bits} bits")
            list(map(float, (*row["rewards"], row["map_evaluations"])))
        float(selection["reward"]["all_bits"])
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not as a run writes it: {reason}") from error
    return selection


def is_run(path: Path) -> bool:
    """Whether a directory holds a run, finished or not."""
    return (path / "config.json").is_file()


def read_finished_run(path: Path | str) -> FinishedRun:
    """Reads what a run says.

    Args:
      path: the run's directory.

    Returns:
      FinishedRun.

    Raises:
      UserError: no run, one that is not finished, one of another format, or a file that is not as a run writes it.
    """
    path = Path(path)
    if not is_run(path):
        raise UserError(f"{path} holds no run (no config.json): give a run's directory")
    config = read_object(path / "config.json")
    check_format(path / "config.json", config)
    if not isinstance(config.get("config"), dict):
        raise UserError(f"{path}/config.json is no configuration of a run")
    if not (path / "metrics.json").is_file():
        raise UserError(
            f"{path} has no metrics.json: the run is not finished, or ended before there was anything to measure; "
            "finish it first by its own command"
        )
    facts = read_object(path / "run.json")
    check_format(path / "run.json", facts)
    _check_fields(path / "run.json", facts, "split")
    metrics = read_object(path / "metrics.json")
    _check_fields(path / "metrics.json", metrics, "results", "definitions")
    rows = _check_rows(path / "metrics.json", metrics["results"])
    pool_bits = next(row["bits"] for row in rows if row["role"] == "pool")
    selection = _read_selection(path / "selection.json", pool_bits)
    return FinishedRun(path, flatten_config(config["config"]), facts, rows, metrics["definitions"], selection)


def read_run_codes(run: FinishedRun, part: str) -> np.ndarray | None:
    """Codes that a run stored.

    Args:
      run: FinishedRun.
      part: name of a file in codes/, e.g. "query", "database" or "direct_016_query".

    Returns:
      uint8 {0, 1} ``[N, K]``; None if the run has no such file.

    Raises:
      UserError: the file is damaged; the message names it.
    """
    path = run.path / "codes" / f"{part}.npy"
    if not path.is_file():
        return None
    facts = read_code_facts(path)
    if facts is None:
        raise UserError(f"{path}: the .json beside it is missing or damaged, so the number of bits is unknown")
    try:
        codes = load_codes(path, facts["bits"])
    except TypeError as error:
        raise UserError(f"{path} is damaged, or the .json beside it is: {error}") from error
    if len(codes) != facts["rows"]:
        raise UserError(f"{path} is damaged: it has {len(codes)} rows, the .json beside it says {facts['rows']}")
    return codes


def read_pool_codes(run: FinishedRun) -> dict[str, np.ndarray]:
    """Codes of all bits.

    Args:
      run: FinishedRun.

    Returns:
      "query" -> uint8 {0, 1} ``[Q, K]``, "database" -> ``[N, K]``; without those that are not there.

    Raises:
      UserError: as in `read_run_codes`, or codes of another length than the run's pool.
    """
    found = {part: read_run_codes(run, part) for part in ("query", "database")}
    found = {part: codes for part, codes in found.items() if codes is not None}
    for part, codes in found.items():
        if codes.shape[1] != run.pool["bits"]:
            raise UserError(
                f"{run.path}/codes/{part}.npy has {codes.shape[1]} bits, metrics.json says {run.pool['bits']}: one of "
                "the two was changed"
            )
    return found


def _read_split(run: FinishedRun) -> data.Split:
    path = run.path / "split.npz"
    try:
        rows = read_arrays(path)
        stored, protocol = run.facts["split"]["digest"], run.facts["split"]["protocol"]
        split = data.Split(protocol, rows["query"], rows["train"], rows["database"])
        digest = data.split_digest(split)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged, or run.json is: {error}") from error
    if digest != stored:
        raise UserError(f"{path} is not the split that run.json has the digest of: it was changed or damaged")
    return split


def read_run_data(run: FinishedRun, load_dataset: Callable[..., data.Dataset] = data.load_dataset) -> RunData:
    """Loads the data of a run again, from where its configuration says that they are.

    Args:
      run: FinishedRun.
      load_dataset: `data.load_dataset`, or one that remembers what it loaded.

    Returns:
      RunData.

    Raises:
      UserError: the data cannot be loaded, or cannot be those that the run was made of.
    """
    source = run.config.get("data.source")
    if not isinstance(source, str) or source not in data.SOURCES:
        raise UserError(f"{run.path}/config.json names no data that can be loaded (data.source={source})")
    fields = [field.name for field in dataclasses.fields(data.DataSettings)]
    settings = {field: run.config[f"data.{field}"] for field in fields if f"data.{field}" in run.config}
    split = _read_split(run)
    try:
        dataset = load_dataset(source, **settings)
    except OSError as error:
        raise UserError(f"data.source={source}: {error}") from error
    needed = max(int(part.max(initial=-1)) for part in (split.query, split.train, split.database)) + 1
    if needed > len(dataset.labels) or dataset.name != run.pool["dataset"]:
        raise UserError(
            f"{run.path} was made of {run.pool['dataset']} with {needed} rows or more; {dataset.name} has "
            f"{len(dataset.labels)} rows now"
        )
    return RunData(dataset, split)


def check_code_rows(run: FinishedRun, codes: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> None:
    """Refuses codes of another number of rows than the split has; both by part of the split.

    Raises:
      UserError: names the file.
    """
    for part, values in codes.items():
        if len(values) != len(rows[part]):
            raise UserError(f"{run.path}/codes/{part}.npy has {len(values)} rows, split.npz has {len(rows[part])}")


def read_learning_curves(run: FinishedRun) -> dict[int, dict[str, np.ndarray]]:
    """What PPO earned while it learned.

    Args:
      run: FinishedRun.

    Returns:
      Number of bits -> name of `REWARDS` -> float64 ``[updates]``. Lines of metrics.jsonl that are something else, or
      were not written to their end, are passed over.
    """
    path = run.path / "metrics.jsonl"
    steps: dict[int, dict[int, list[float]]] = {}
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            stage, step, values = row["stage"].split("_"), row["step"], [float(row[name]) for name in REWARDS]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if stage[0] == "selection" and stage[2:] == ["ppo"] and stage[1].isdigit():
            steps.setdefault(int(stage[1]), {})[step] = values
    return {
        bits: dict(zip(REWARDS, np.array([by_step[step] for step in sorted(by_step)]).T, strict=True))
        for bits, by_step in steps.items()
    }
