"""The runs of a report: found, read by the one reader of finished runs, and put together by dataset."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data
from drlhash_jax.errors import UserError
from drlhash_jax.report.tables import SELECTOR_TITLES, Group, group_of, label_of, selector_title
from drlhash_jax.runs.finished import (
    FinishedRun,
    RunData,
    check_code_rows,
    is_run,
    read_finished_run,
    read_pool_codes,
    read_run_data,
)

# Name of a pool in figures of one kind of pool.
POOL = "all bits of the pool"


class Record(NamedTuple):
    """A run with all that could be read of it.

    Attributes:
      run: what it says.
      codes: "query" and "database" -> codes of all bits, uint8 {0, 1} ``[n, K]``, as far as they are there.
      data: what it was made of; None where that is gone or was changed.
    """

    run: FinishedRun
    codes: Mapping[str, np.ndarray]
    data: RunData | None

    @property
    def pool_bits(self) -> int:
        """K, the length of the pool's codes."""
        return self.run.pool["bits"]

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the queries and of the database; only with data."""
        return self.data.labels("query"), self.data.labels("database")


class Runs(NamedTuple):
    """Runs on one dataset.

    Attributes:
      group: dataset, protocol and cut-off of all of them.
      slug: the dataset's name as part of a file's.
      records: the runs.
    """

    group: Group
    slug: str
    records: list[Record]

    @property
    def rows(self) -> list[dict]:
        """Result rows of all runs."""
        return [row for record in self.records for row in record.run.rows]

    @property
    def labelled(self) -> list[Record]:
        """The runs whose labels are known."""
        return [record for record in self.records if record.data is not None]

    @property
    def alike(self) -> bool:
        """Whether one method, encoder and size of pool is behind all rows, so that a selector names a row."""
        pools = {record.pool_bits for record in self.records}
        return len(pools) == 1 and len({(row["method"], row["encoder"]) for row in self.rows}) == 1

    def name_of(self, row: dict) -> str:
        """A result row's name in figures: the selector alone, where all else is the same for all rows."""
        return selector_title(row["selector"]) if self.alike else self.label_of(row)

    def label_of(self, row: dict) -> str:
        """A result row's name in tables."""
        return label_of(row, {each["encoder"] for each in self.rows})

    def pool_name(self, row: dict) -> str:
        """Name of the pool of a row in figures."""
        if self.alike:
            return POOL
        name = f"{row['method']}, all {row['pool_bits']} bits"
        return f"{name} ({row['encoder']})" if len({each["encoder"] for each in self.rows}) > 1 else name

    def length_title(self, record: Record, bits: int) -> str:
        """Title of a panel of one length of a record's pool; runs of another pool have another title."""
        title = f"{bits} of {record.pool_bits} bits"
        return title if self.alike else f"{record.run.pool['method']} ({record.run.pool['encoder']}), {title}"

    @property
    def pool_names(self) -> list[str]:
        """Names of the pools of all runs, each once."""
        return list(dict.fromkeys(self.pool_name(record.run.pool) for record in self.records))

    def sorted_names(self, rows: Sequence[dict]) -> list[str]:
        """Names of rows as figures order them: method by method, in each the selectors that matter most first."""
        methods = list(dict.fromkeys((row["method"], row["encoder"]) for row in self.rows))
        known = list(SELECTOR_TITLES)
        place = lambda selector: known.index(selector) if selector in known else len(known)
        key = lambda row: (methods.index((row["method"], row["encoder"])), place(row["selector"]), -row["pool_bits"])
        return list(dict.fromkeys(self.name_of(row) for row in sorted(rows, key=key)))


def find_runs(folders: Sequence[str]) -> list[Path]:
    """Directories of runs, given one by one or as folders of runs.

    Args:
      folders: each a run's directory, or a folder with such directories in it.

    Returns:
      In the order given, those of a folder by name.

    Raises:
      UserError: a folder that is not there, or has no runs in it.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(f"--runs: {folder} is {'a file' if folder.exists() else 'not there'}: give directories")
        runs = [folder] if is_run(folder) else sorted(path for path in folder.iterdir() if is_run(path))
        if not runs:
            raise UserError(f"--runs: {folder} holds no run, and no folder in it does (no config.json)")
        found += runs
    return found


def _group(runs: Sequence[FinishedRun]) -> dict[Group, list[FinishedRun]]:
    """Runs by dataset with its protocol and cut-off, in order of appearance.

    Raises:
      UserError: runs on one dataset by different protocols or cut-offs.
    """
    found: dict[str, tuple[Group, list[FinishedRun]]] = {}
    for run in runs:
        groups = dict.fromkeys(map(group_of, run.rows))
        group = next(iter(groups))
        first, members = found.setdefault(group.dataset, (group, []))
        members.append(run)
        if len(groups) > 1:
            raise UserError(f"{run.path} holds results of {' and of '.join(map(str, groups))}: not one run")
        if first != group:
            raise UserError(
                f"{members[0].path} is of {first} and {run.path} of {group}: no report compares the two; make one of "
                "each"
            )
    return dict(found.values())


def _slugs(names: Sequence[str]) -> list[str]:
    """Names as parts of file names, all different, also where case does not count."""
    found: list[str] = []
    for name in names:
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60] or "data"
        while slug.lower() in map(str.lower, found):
            slug += "-"
        found.append(slug)
    return found


def _read_record(run: FinishedRun, load_dataset, notes: list[str]) -> Record:
    """Codes and data of a run; a note where the data cannot be had."""
    codes = read_pool_codes(run)
    if len(codes) < 2:
        missing = next(part for part in ("query", "database") if part not in codes)
        notes.append(f"{run.path}: no figure that needs its codes; codes/{missing}.npy is not there")
        return Record(run, codes, None)
    try:
        loaded = read_run_data(run, load_dataset)
        check_code_rows(run, codes, loaded.rows)
    except UserError as error:
        notes.append(f"{run.path}: no figure that needs labels or images. {error}")
        return Record(run, codes, None)
    return Record(run, codes, loaded)


def read_runs(folders: Sequence[str], notes: list[str]) -> list[Runs]:
    """Finds and reads runs, dataset by dataset.

    Args:
      folders: see `find_runs`.
      notes: what could not be read, and why, is added here.

    Returns:
      The runs, dataset by dataset.

    Raises:
      UserError: as in `find_runs`, `read_finished_run` and `read_pool_codes`, or runs on one dataset by different
        protocols or cut-offs.
    """
    grouped = _group([read_finished_run(path) for path in find_runs(folders)])
    # Runs that differ in the seed follow one another and share their data.
    load_dataset = functools.lru_cache(maxsize=1)(data.load_dataset)
    slugs = _slugs([group.dataset for group in grouped])
    return [
        Runs(group, slug, [_read_record(run, load_dataset, notes) for run in members])
        for (group, members), slug in zip(grouped.items(), slugs)
    ]
