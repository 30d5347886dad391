"""From directories of runs to everything that a page shows: tables, figures with captions, and what is missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.report.measures import HEALTH_FIELDS, code_health
from drlhash_jax.report.panels import (
    Figure,
    Say,
    draw_curves,
    draw_learning,
    draw_rewards,
    draw_summaries,
    measure_curves,
)
from drlhash_jax.report.pictures import draw_correlation, draw_retrievals, draw_robustness, draw_tsne
from drlhash_jax.report.records import Record, Runs, read_runs
from drlhash_jax.report.tables import Table, result_tables, selector_title

HEADINGS = (
    "mAP against code length",
    "Precision and recall",
    "Precision within radius 2",
    "Precision among the first rows",
    "Reward and mAP",
    "PPO learning",
    "Good and bad retrievals",
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
      health: one for each dataset.
      notes: what could not be shown, and why.
    """

    records: list[Record]
    tables: list[Table]
    figures: dict[str, list[Figure]]
    health: list[Health]
    notes: list[str]


def measure_health(runs: Runs) -> Health | None:
    """Health of the database's codes: the whole pool, and what the main selector, greedy and random made of it."""
    having = [record for record in runs.records if len(record.codes.get("database", ())) > 1]
    methods = {record.run.pool["method"] for record in having}
    measured: dict[str, list[dict[str, float]]] = {}
    for record in having:
        run, pool = record.run, record.codes["database"]
        labels = None if record.data is None else record.labels[1]
        own = {f"all {record.pool_bits} bits": slice(None)}
        for (bits, selector), orders in run.orders.items():
            if selector in (run.main_selector, "greedy", "random"):
                own[f"{bits} bits, {selector_title(selector)}"] = orders[0]
        for name, order in own.items():
            title = name if len(methods) == 1 else f"{run.pool['method']}, {name}"
            measured.setdefault(title, []).append(code_health(pool[:, order], labels))
    rows = [
        (name, [float(np.mean([each[field] for each in values])) for field in HEALTH_FIELDS])
        for name, values in measured.items()
    ]
    return Health(runs.group.dataset, len(having), rows) if rows else None


def _draw_dataset(
    folder: Path, runs: Runs, robustness: bool, notes: list[str], say: Say
) -> tuple[dict[str, list[Figure]], Runs]:
    """All figures of one dataset; and its runs, without the data of those whose data have changed."""
    curves = measure_curves(runs, notes, say)
    runs = curves.runs
    say(f"figures of {runs.group.dataset}")
    drawn = draw_curves(folder, curves)
    single = {
        "Reward and mAP": draw_rewards(folder, runs),
        "PPO learning": draw_learning(folder, runs, notes),
        "Correlation of bits": draw_correlation(folder, runs),
    }
    if runs.labelled:
        single["Good and bad retrievals"] = draw_retrievals(folder, runs)
        single["Codes in the plane"] = draw_tsne(folder, runs, notes)
        if robustness:
            single["Robustness"] = draw_robustness(folder, runs, notes, say)
    return drawn | {heading: [figure] for heading, figure in single.items() if figure}, runs


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
      UserError: there is nothing to report on, a damaged run, or runs that no report holds together.
    """
    notes: list[str] = []
    say("reading the runs and their data")
    every = read_runs(folders, notes)
    records = [record for runs in every for record in runs.records]
    finished = [record.run for record in records]
    tables = result_tables(finished) + result_tables(finished, "precision_radius2")
    findings = Findings(records, tables, {heading: [] for heading in HEADINGS}, [], notes)
    drawn = [draw_summaries(figures, every, tables)]
    for runs in every:
        of_dataset, runs = _draw_dataset(figures, runs, robustness, notes, say)
        drawn.append(of_dataset)
        health = measure_health(runs)
        findings.health.extend([health] if health else [])
    for by_heading in drawn:
        for heading, found in by_heading.items():
            findings.figures[heading].extend(found)
    return findings
