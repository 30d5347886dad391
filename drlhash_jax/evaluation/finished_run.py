"""A finished run read back: its codes, the labels that they belong to, and the bits that were chosen."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data
from drlhash_jax.codes import load_codes, read_code_facts
from drlhash_jax.config import default_config
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays


class FinishedRun(NamedTuple):
    """What is measured again.

    Attributes:
      path: the run's directory.
      facts: dataset, protocol and seed, as in its result rows.
      top_k: ranks that its numbers count; None for all.
      query_codes: uint8 ``[Q, K]`` of the pool.
      database_codes: uint8 ``[N, K]``.
      query_labels: int32 ``[Q]`` or uint8 multi-hot ``[Q, C]``.
      database_labels: int32 ``[N]`` or uint8 multi-hot ``[N, C]``.
      orders: (length, selector) -> pool positions of the first draw, best first; none if the run ended with mapping.
      results: rows of its metrics.json.
    """

    path: Path
    facts: dict
    top_k: int | None
    query_codes: np.ndarray
    database_codes: np.ndarray
    query_labels: np.ndarray
    database_labels: np.ndarray
    orders: dict[tuple[int, str], list[int]]
    results: list[dict]


def _read(path: Path, needed: str) -> dict:
    """A JSON object that has the field `needed`."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if needed not in content:
        raise UserError(f"{path} has no {needed!r}: it is not the file of a finished run")
    return content


def _pool_codes(path: Path) -> np.ndarray:
    facts = read_code_facts(path)
    if facts is None:
        raise UserError(f"{path}: no codes of a run; without the .json beside them the number of bits is unknown")
    codes = load_codes(path, facts["bits"])
    if len(codes) != facts["rows"]:
        raise UserError(f"{path} has {len(codes)} rows, the .json beside it says {facts['rows']}")
    return codes


def _labels_of(path: Path, config: dict, run: dict) -> tuple[str, np.ndarray, np.ndarray]:
    """Name of the dataset and labels of its query and database rows, read from where the run read them."""
    fields = default_config().data.to_dict() | config["data"]
    dataset = data.load_dataset(fields["source"], **{field: fields[field] for field in data.DataSettings._fields})
    rows = read_arrays(path / "split.npz")
    split = data.Split(run["split"]["protocol"], rows["query"], rows["train"], rows["database"])
    if data.split_digest(split) != run["split"]["digest"]:
        raise UserError(f"{path}/split.npz is not the split that run.json has the digest of: it was changed")
    last = max(int(part.max()) for part in (split.query, split.database))
    if last >= len(dataset.labels):
        raise UserError(f"{path}: the split reaches row {last}, {dataset.name} has {len(dataset.labels)} rows now")
    return dataset.name, dataset.labels[split.query], dataset.labels[split.database]


def read_finished_run(path: Path) -> FinishedRun:
    """Reads a run's codes, and its labels from the data that its configuration names.

    Raises:
      UserError: a run that is not finished or has no codes, or data that are not there or not the same any more.
    """
    if not (path / "metrics.json").is_file() or not (path / "codes/query.npy").is_file():
        raise UserError(f"--workdir={path} holds a run without codes and numbers: finish it first by its own command")
    config, run = _read(path / "config.json", "config")["config"], _read(path / "run.json", "split")
    query_codes, database_codes = (_pool_codes(path / f"codes/{part}.npy") for part in ("query", "database"))
    name, query_labels, database_labels = _labels_of(path, config, run)
    for part, coded, labels in (("query", query_codes, query_labels), ("database", database_codes, database_labels)):
        if len(coded) != len(labels):
            raise UserError(f"{path}/codes/{part}.npy has {len(coded)} rows, split.npz has {len(labels)}")
    chosen = _read(path / "selection.json", "selections")["selections"] if (path / "selection.json").is_file() else []
    return FinishedRun(
        path=path,
        facts={"dataset": name, "protocol": run["split"]["protocol"], "seed": config["seed"]},
        top_k=config["top_k"] or None,
        query_codes=query_codes,
        database_codes=database_codes,
        query_labels=query_labels,
        database_labels=database_labels,
        orders={(each["bits"], each["selector"]): each["orders"][0] for each in chosen},
        results=_read(path / "metrics.json", "results")["results"],
    )
