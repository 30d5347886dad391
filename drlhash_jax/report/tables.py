"""Results of runs as tables in the form of the thesis's Tables 4.1 and 4.2, and what others have published.

Numbers are compared only where they mean the same. A table's columns belong to one dataset, protocol and cut-off of
mAP@R each; runs that define a number differently are refused by name, and so are runs that would be averaged over
seeds but differ in more than the seed. Published values stay in tables of their own: nobody knows how they break
ties.
"""

import csv
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np

from drlhash_jax.bit_selection import SELECTORS
from drlhash_jax.errors import UserError
from drlhash_jax.figures import Series
from drlhash_jax.runs.finished import FinishedRun

# A figure shows a few curves: these come first, the other selectors in the order of their records.
_FIRST = ("ppo", "greedy", "none", "random")
_TITLES = {name: selector.label for name, selector in SELECTORS.items()} | {"none": "trained at this length"}
SELECTOR_TITLES = {name: _TITLES[name] for name in dict.fromkeys((*_FIRST, *_TITLES))}
# Fields of a configuration that may differ between the runs of one mean: they change no number of a row.
_FREE_FIELDS = {
    *("seed", "bits", "selectors", "last_stage", "train_direct", "parallel", "checkpoint_seconds"),
    *("data.path", "data.labels_path", "data.cache", "data.num_workers", "training.resident_mib"),
}


class Group(NamedTuple):
    """What the columns of a table have in common.

    Attributes:
      dataset: its name.
      protocol: name of the split.
      map_at: ranks that count in mAP@R, "all", or "unstated" for published values.
    """

    dataset: str
    protocol: str
    map_at: str

    def __str__(self) -> str:
        cut = "mAP, cut-off unstated" if self.map_at == "unstated" else f"mAP@{self.map_at}"
        return f"{self.dataset}, protocol {self.protocol}, {cut}"


class Cell(NamedTuple):
    """A number of a table.

    Attributes:
      mean: over seeds; None where a run has no number.
      sd: standard deviation (n - 1) over seeds; None for a single seed and for published values.
      n: seeds; None for published values.
      draws_sd: standard deviation over the draws of a random selection, the mean over seeds; None without draws.
      interval: of a single seed, over its queries; None where there is none.
    """

    mean: float | None
    sd: float | None
    n: int | None
    draws_sd: float | None = None
    interval: tuple[float, float] | None = None


class Method(NamedTuple):
    """A row of a table.

    Attributes:
      name: what is written there.
      source: where its numbers were published; None if they were measured here.
    """

    name: str
    source: str | None = None


Cells = dict[tuple[Method, Group, int], Cell]


class Table(NamedTuple):
    """Methods by groups and code lengths.

    Attributes:
      value: field of the result rows that the numbers are.
      methods: rows.
      columns: pairs of a Group and a number of bits.
      cells: (Method, Group, bits) -> Cell; what is missing is not known.
    """

    value: str
    methods: tuple[Method, ...]
    columns: tuple[tuple[Group, int], ...]
    cells: Cells

    @property
    def groups(self) -> tuple[Group, ...]:
        """Groups of the columns, in their order."""
        return tuple(dict.fromkeys(group for group, _ in self.columns))

    @property
    def published(self) -> bool:
        """Whether the numbers are published ones, which no table mixes with measured ones."""
        return self.methods[0].source is not None

    @property
    def title(self) -> str:
        """What the numbers are, of what, and over how many seeds."""
        what = "" if self.value == "map" else f"{self.value}: "
        where = f"{what}{'; '.join(map(str, self.groups))}"
        return f"published, not measured here: {where}" if self.published else f"{where}; {_seeds(self.cells)}"


def _seeds(cells: Cells) -> str:
    """How many seeds a table's numbers stand for, if they all stand for as many."""
    counts = {cell.n for cell in cells.values()}
    if counts == {1}:
        return "one seed"
    return f"mean ± sd (n - 1), n = {counts.pop()} seeds" if len(counts) == 1 else "mean ± sd (n - 1) over n seeds"


def _check_definitions(runs: Sequence[FinishedRun], value: str) -> None:
    """Refuses runs that mean something else by the number, or by the mAP and the queries it rests on."""
    for field in dict.fromkeys((value, "map", "map_at", "n_query")):
        first = runs[0]
        for run in runs[1:]:
            if run.definitions.get(field) != first.definitions.get(field):
                raise UserError(
                    f"{first.path} and {run.path} define {field} differently "
                    f"({first.definitions.get(field)!r}, {run.definitions.get(field)!r}): no table holds both"
                )


class _Entry(NamedTuple):
    """A result row with the run it came from."""

    run: FinishedRun
    row: dict


def _check_seeds(label: str, entries: Sequence[_Entry]) -> None:
    """Refuses to average what differs in more than the seed, or one seed twice."""
    first = entries[0]
    seeds: dict[int, FinishedRun] = {}
    for run, row in entries:
        other = seeds.setdefault(row["seed"], run)
        if other is not run or sum(each.run is run for each in entries) > 1:
            raise UserError(f"{other.path} and {run.path} both give seed {row['seed']} of {label}: give each run once")
        if row["n_database"] != first.row["n_database"]:
            raise UserError(
                f"{first.run.path} searched {first.row['n_database']} rows and {run.path} {row['n_database']}, both as "
                f"{label}: no table holds both"
            )
        fields = sorted((run.config.keys() | first.run.config.keys()) - _FREE_FIELDS)
        differing = [field for field in fields if run.config.get(field) != first.run.config.get(field)]
        if differing:
            raise UserError(
                f"{first.run.path} and {run.path} differ in {', '.join(differing[:5])}, not only in the seed: {label} "
                "is no mean over both"
            )


def group_of(row: dict) -> Group:
    """The columns that a result row belongs to."""
    return Group(row["dataset"], row["protocol"], "all" if row["map_at"] is None else str(row["map_at"]))


def selector_title(selector: str) -> str:
    """A selector as it is written in tables and figures."""
    return SELECTOR_TITLES.get(selector, selector)


def label_of(row: dict, encoders: Iterable[str]) -> str:
    """Name of a row's method; the encoder belongs to it where there are several."""
    title = selector_title(row["selector"])
    label = f"{row['method']}, {title}"
    if row["selector"] != "none":
        label += f" from {row['pool_bits']}"
    return f"{label} ({row['encoder']})" if len(set(encoders)) > 1 else label


def _cell(entries: Sequence[_Entry], value: str) -> Cell:
    values = [row.get(value) for _, row in entries]
    for (run, _), each in zip(entries, values):
        if not isinstance(each, int | float | None):
            raise UserError(f"{run.path}: {value} is {each!r}, not a number")
    if None in values:
        return Cell(None, None, len(values))
    # The spread over draws and the interval over queries are stored for mAP alone.
    draws = [row.get("map_sd") if value == "map" else None for _, row in entries]
    draws_sd = None if None in draws else float(np.mean(draws))
    if len(values) > 1:
        return Cell(float(np.mean(values)), float(np.std(values, ddof=1)), len(values), draws_sd)
    interval = entries[0].row.get("map_interval") if value == "map" else None
    return Cell(float(values[0]), None, 1, draws_sd, tuple(interval) if interval else None)


def result_tables(runs: Sequence[FinishedRun], value: str = "map") -> list[Table]:
    """Tables of measured numbers: one for each dataset, protocol and cut-off.

    Args:
      runs: any number of them, see `runs.finished.read_finished_run`.
      value: field of the result rows, e.g. "map" or "precision_radius2".

    Returns:
      Tables in the order of the runs; rows in the order of their first result.

    Raises:
      UserError: no runs; runs that define the numbers differently; one method and length with a seed twice, with
        other rows searched, or with settings that differ in more than the seed.
    """
    if not runs:
        raise UserError("there are no result rows: give directories of finished runs")
    if not any(value in row for run in runs for row in run.rows):
        raise UserError(f"no result row has a field {value}")
    _check_definitions(runs, value)
    grouped: dict[Group, list[_Entry]] = {}
    for run in runs:
        for row in run.rows:
            grouped.setdefault(group_of(row), []).append(_Entry(run, row))
    return [_measured_table(group, entries, value) for group, entries in grouped.items()]


def _measured_table(group: Group, entries: Sequence[_Entry], value: str) -> Table:
    encoders = {row["encoder"] for _, row in entries}
    by_cell: dict[tuple[Method, Group, int], list[_Entry]] = {}
    for entry in entries:
        by_cell.setdefault((Method(label_of(entry.row, encoders)), group, entry.row["bits"]), []).append(entry)
    for (method, _, bits), of_cell in by_cell.items():
        _check_seeds(f"{method.name}, {bits} bits on {group}", of_cell)
    return _assemble(value, {key: _cell(of_cell, value) for key, of_cell in by_cell.items()})


def _assemble(value: str, cells: Cells) -> Table:
    methods = tuple(dict.fromkeys(method for method, _, _ in cells))
    groups = dict.fromkeys(group for _, group, _ in cells)
    columns = [(group, bits) for group in groups for bits in sorted({b for _, g, b in cells if g == group})]
    return Table(value, methods, tuple(columns), cells)


def best_cells(table: Table) -> set[tuple[Method, Group, int]]:
    """The highest mean of every column, and all that cannot be told from it: those whose mean ± sd reaches its own.

    Nothing of a column whose highest mean is of a single seed, and nothing of a single seed: it has no spread.

    Args:
      table: Table.

    Returns:
      Keys of its cells.
    """
    best = set()
    for group, bits in table.columns:
        column = {(method, group, bits): table.cells.get((method, group, bits)) for method in table.methods}
        known = {key: cell for key, cell in column.items() if cell is not None and cell.mean is not None}
        top = max(known.values(), key=lambda cell: cell.mean, default=None)
        if top is None or top.sd is None or len(known) < 2:
            continue
        least = top.mean - top.sd
        best |= {key for key, cell in known.items() if cell.sd is not None and cell.mean + cell.sd >= least}
    return best


def side_by_side(tables: Sequence[Table]) -> Table:
    """Several tables as one, the columns of one dataset beside those of another, as in the thesis's Table 4.1.

    Args:
      tables: of different datasets.

    Returns:
      Table.

    Raises:
      UserError: two of them are of one dataset, so differ in protocol or cut-off; they hold different numbers, or
        measured and published ones.
    """
    if not tables:
        raise UserError("there are no tables to put side by side")
    for table in tables[1:]:
        if (table.published, table.value) != (tables[0].published, tables[0].value):
            raise UserError(f"no table holds both: {tables[0].title}; {table.title}")
    groups = [group for table in tables for group in table.groups]
    for place, group in enumerate(groups):
        for other in groups[:place]:
            if group.dataset == other.dataset:
                raise UserError(f"no table holds both: {other}; {group}")
    return _assemble(tables[0].value, {key: cell for table in tables for key, cell in table.cells.items()})


def _series(known: Sequence[tuple[int, Cell]]) -> Series:
    """Cells by number of bits as a line; spreads where there are any."""
    nan = lambda value: float("nan") if value is None else value
    given = lambda values: None if all(value is None for value in values) else list(map(nan, values))
    return Series(
        [bits for bits, _ in known],
        [cell.mean for _, cell in known],
        given([cell.sd for _, cell in known]),
        given([cell.draws_sd for _, cell in known]),
    )


def panels_of(tables: Sequence[Table]) -> dict[str, dict[str, Series]]:
    """Tables as the panels of `plot_map_bits`: one for each group, with the spread over seeds and that over draws."""
    panels: dict[str, dict[str, Series]] = {}
    for table in tables:
        for group in table.groups:
            panel = panels.setdefault(str(group), {})
            for method in table.methods:
                known = [(bits, table.cells.get((method, g, bits))) for g, bits in table.columns if g == group]
                known = [(bits, cell) for bits, cell in known if cell is not None and cell.mean is not None]
                if known:
                    panel[method.name] = _series(known)
    return panels


def published_tables(sources: Sequence[str] = ()) -> list[Table]:
    """Numbers of the thesis and of the literature, one table for each dataset, protocol and cut-off.

    The protocol is the one that the numbers were made under, as far as that can be told. It is not always the one of
    the text they are printed in: the thesis describes 21 concepts of NUS-WIDE, but the baselines it quotes were
    measured with 81.

    Args:
      sources: beginnings of the sources to take, e.g. "thesis"; empty for all.

    Returns:
      Tables, each number as printed, a row's source beside it.
    """
    text = resources.files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    grouped: dict[Group, Cells] = {}
    for row in csv.DictReader(text.splitlines()):
        if sources and not row["source"].startswith(tuple(sources)):
            continue
        group = Group(row["dataset"], row["protocol"], row["map_at"])
        method = Method(f"{row['method']} ({row['network']})", row["source"])
        grouped.setdefault(group, {})[method, group, int(row["bits"])] = Cell(float(row["map"]), None, None)
    if not grouped:
        raise UserError(f"nothing published by {', '.join(sources)} is known here")
    return [_assemble("map", cells) for cells in grouped.values()]
