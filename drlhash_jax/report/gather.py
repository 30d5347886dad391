"""From directories of runs to everything that a page shows: tables, figures with captions, and what is missing."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.errors import UserError
from drlhash_jax.report.figures import (
    Figure,
    Runs,
    Say,
    draw_correlation,
    draw_curves,
    draw_learning,
    draw_retrievals,
    draw_robustness,
    draw_summaries,
    draw_tsne,
)
from drlhash_jax.report.measures import HEALTH_FIELDS, code_health
from drlhash_jax.report.tables import Group, Table, group_of, result_tables, selector_title
from drlhash_jax.report.workdirs import Record, find_runs, load_coded, read_record

HEADINGS = (
    "mAP against code length",
    "Precision and recall",
    "Precision within radius 2",
    "Precision among the first rows",
    "Good and bad retrievals",
    "PPO learning",
    "Correlation of bits",
    "Codes in the plane",
    "Robustness",
)


class Health(NamedTuple):
    """Code health before and after selection on one dataset.

    Attributes:
      dataset: its name.
      runs: that were averaged.
      rows: what the codes are, and the means over runs of `HEALTH_FIELDS`, in their order.
    """

    dataset: str
    runs: int
    rows: list[tuple[str, list[float]]]


class Findings(NamedTuple):
    """What runs gave.

    Attributes:
      records: the runs.
      tables: of mAP, then of precision within radius 2.
      figures: heading of `HEADINGS` -> figures.
      health: one a dataset.
      notes: what could not be shown, and why.
    """

    records: list[Record]
    tables: list[Table]
    figures: dict[str, list[Figure]]
    health: list[Health]
    notes: list[str]


def read_records(folders: Sequence[str]) -> dict[Group, list[Record]]:
    """Finds and reads runs, and refuses what no report holds together.

    Args:
      folders: see `find_runs`.

    Returns:
      Runs by dataset with its protocol and cut-off, in order of appearance.

    Raises:
      UserError: as in `find_runs` and `read_record`, or runs on one dataset by different protocols or cut-offs.
    """
    found: dict[str, tuple[Group, list[Record]]] = {}
    for record in map(read_record, find_runs(folders)):
        groups = dict.fromkeys(map(group_of, record.run.rows))
        group = next(iter(groups))
        first, members = found.setdefault(group.dataset, (group, []))
        members.append(record)
        if len(groups) > 1:
            raise UserError(f"{record.path} holds results of {' and of '.join(map(str, groups))}: not one run")
        if first != group:
            raise UserError(
                f"{members[0].path} is of {first} and {record.path} of {group}: no report compares the two; make one "
                "of each"
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


def _with_data(grouped: dict[Group, list[Record]], notes: list[str]) -> list[Runs]:
    """Adds codes and labels where the data can be loaded; where not, a note."""
    every = []
    for (group, records), slug in zip(grouped.items(), _slugs([group.dataset for group in grouped])):
        coded = []
        for record in records:
            try:
                coded.append((record, load_coded(record)))
            except UserError as error:
                notes.append(f"{record.path}: no figure that needs labels or images. {error}")
        every.append(Runs(group, slug, records, coded))
    return every


def measure_health(runs: Runs) -> Health | None:
    """Health of the database's codes: the whole pool, and what the main selector, greedy and random made of it."""
    labels = {record.path: coded.database_labels for record, coded in runs.coded}
    having = [record for record in runs.records if record.pool is not None]
    measured: dict[str, list[dict[str, float]]] = {}
    for record in having:
        own = {f"all {record.pool.shape[1]} bits": slice(None)}
        for (bits, selector), orders in record.orders.items():
            if selector in (record.main_selector, "greedy", "random"):
                own[f"{bits} bits, {selector_title(selector)}"] = orders[0]
        for name, order in own.items():
            measured.setdefault(name, []).append(code_health(record.pool[:, order], labels.get(record.path)))
    rows = [
        (name, [float(np.mean([each[field] for each in values])) for field in HEALTH_FIELDS])
        for name, values in measured.items()
    ]
    return Health(runs.group.dataset, len(having), rows) if rows else None


def gather(folders: Sequence[str], figures: Path, robustness: bool, say: Say) -> Findings:
    """Reads runs, measures what they stored and draws every figure that can be drawn.

    Args:
      folders: directories of runs, or folders of them.
      figures: folder of the figures' files.
      robustness: whether runs on colour images are attacked, which takes minutes.
      say: told what is going on.

    Returns:
      Findings.

    Raises:
      UserError: there is nothing to report on, or runs that no report holds together.
    """
    grouped = read_records(folders)
    records = [record for members in grouped.values() for record in members]
    runs = [record.run for record in records]
    tables = result_tables(runs) + result_tables(runs, "precision_radius2")
    findings = Findings(records, tables, {heading: [] for heading in HEADINGS}, [], [])
    notes = findings.notes
    say("loading the data of the runs")
    every = _with_data(grouped, notes)
    drawn = [draw_summaries(figures, every, tables)]
    for of_dataset in every:
        # Drops runs whose data have changed, so it comes before all that uses their labels.
        drawn.append(draw_curves(figures, of_dataset, notes, say))
        say(f"figures of {of_dataset.group.dataset}")
        single = {
            "PPO learning": draw_learning(figures, of_dataset, notes),
            "Correlation of bits": draw_correlation(figures, of_dataset),
        }
        if of_dataset.coded:
            single["Good and bad retrievals"] = draw_retrievals(figures, of_dataset)
            single["Codes in the plane"] = draw_tsne(figures, of_dataset, notes)
            if robustness:
                single["Robustness"] = draw_robustness(figures, of_dataset, notes, say)
        drawn.append({heading: [figure] for heading, figure in single.items() if figure})
        health = measure_health(of_dataset)
        findings.health.extend([health] if health else [])
    for by_heading in drawn:
        for heading, found in by_heading.items():
            findings.figures[heading].extend(found)
    return findings
