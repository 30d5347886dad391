"""The closing table of a run: one row per way to get codes, one column per length; what it means and what to do next.

Rows are those of metrics.json: `role` is "pool" (all bits of the encoder), "selected" (some of them, by `selector`) or
"direct" (an encoder trained at this length); `map_interval` is [low, high] or None.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Selector -> anything with a label and a meaning, such as the records of `bit_selection.SELECTORS`.
Selectors = Mapping[str, Any]
_DIRECT = "trained at p"
# Standard output that is no terminal.
_WIDTH = 120


def _label(row: dict, selectors: Selectors) -> str:
    if row["role"] == "pool":
        return f"all {row['pool_bits']}"
    if row["role"] == "direct":
        return _DIRECT
    return selectors[row["selector"]].label if row["selector"] in selectors else row["selector"]


def _place(row: dict, selectors: Selectors) -> int:
    """Where a row's label stands in the table: the pool, the selectors in their order, others, direct training."""
    if row["role"] != "selected":
        return -1 if row["role"] == "pool" else len(selectors) + 1
    return list(selectors).index(row["selector"]) if row["selector"] in selectors else len(selectors)


def _labels(rows: Sequence[dict], selectors: Selectors) -> list[str]:
    ordered = sorted(rows, key=lambda row: _place(row, selectors))
    return list(dict.fromkeys(_label(row, selectors) for row in ordered))


def _cell(row: dict | None) -> str:
    if row is None or row["map"] is None:
        return "-"
    if "map_sd" in row:
        return f"{row['map']:.3f} ± {row['map_sd']:.3f}"
    interval = row.get("map_interval")
    return f"{row['map']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def results_table(rows: Sequence[dict], selectors: Selectors) -> Table:
    """Table of mAP with its intervals for the rows of metrics.json."""
    first = rows[0]
    cut = "all" if first["map_at"] is None else first["map_at"]
    title = f"{first['method']}: mAP@{cut} on {first['dataset']}, protocol {first['protocol']}, seed {first['seed']}"
    table = Table(title=Text(title), box=SIMPLE_HEAD, title_justify="left")
    table.add_column("bits chosen by")
    lengths = sorted({row["bits"] for row in rows})
    for bits in lengths:
        table.add_column(f"{bits} bits")
    keyed = {(_label(row, selectors), row["bits"]): row for row in rows}
    for label in _labels(rows, selectors):
        table.add_row(Text(label), *(Text(_cell(keyed.get((label, bits)))) for bits in lengths))
    return table


def legend_lines(rows: Sequence[dict], selectors: Selectors) -> list[str]:
    """What stands in `results_table`, one line per thing."""
    first = rows[0]
    ranks = "all ranks" if first["map_at"] is None else f"the first {first['map_at']} ranks"
    lines = [f"mAP: mean average precision over {ranks}, expected over the order of equal distances; 1 is the best"]
    if any(row.get("map_interval") for row in rows):
        lines.append(f"[low, high]: 95 % interval for other queries than these {first['n_query']}; not for other seeds")
    draws = {row["num_draws"] for row in rows if "map_sd" in row}
    if draws:
        lines.append(f"±: standard deviation over {max(draws)} random choices")
    chosen = any(row["role"] == "selected" for row in rows)
    for row in rows:
        if row["role"] == "pool":
            lines.append(
                f"{_label(row, selectors)}: every bit"
                + chosen * "; those below keep p of them, chosen on training rows"
            )
    meanings = {each.label: each.meaning for each in selectors.values()} | {
        _DIRECT: "no choice, another encoder with p bits"
    }
    return lines + [f"{label}: {meanings[label]}" for label in _labels(rows, selectors) if label in meanings]


def _compare(bits: int, rows: Sequence[dict], selectors: Selectors) -> str:
    """One line about rows that have intervals, two at least."""
    highest, *others = sorted(rows, key=lambda row: -row["map"])
    apart = [_label(row, selectors) for row in others if row["map_interval"][1] < highest["map_interval"][0]]
    level = [_label(row, selectors) for row in others if row["map_interval"][1] >= highest["map_interval"][0]]
    parts = [f"{bits} bits: {_label(highest, selectors)} is highest ({highest['map']:.3f})"]
    if apart:
        parts.append(f"lower, with intervals apart: {', '.join(apart)}")
    if level:
        parts.append(f"no difference shown, intervals overlap: {', '.join(level)}")
    return "; ".join(parts)


def difference_lines(rows: Sequence[dict], selectors: Selectors) -> list[str]:
    """Per length one line that says what differs from the highest mAP and what does not, the pool included.

    Two numbers differ here if their 95 % intervals do not overlap. All are about the same queries, so that this is
    careful: numbers whose intervals overlap may still differ.
    """
    known = [row for row in rows if row["map"] is not None and row.get("map_interval")]
    lines = []
    for bits in sorted({row["bits"] for row in known if row["role"] != "pool"}):
        compared = [row for row in known if row["role"] == "pool" or row["bits"] == bits]
        if len(compared) > 1:
            lines.append(_compare(bits, compared, selectors))
    return lines


def next_step_lines(workdir: str) -> list[str]:
    """What to do with a finished run, as commands to copy."""
    program, folder = "python -m drlhash_jax.main", shlex.quote(str(workdir))
    return [
        "next:",
        f"  {program} report --runs={folder} --out=report",
        "      tables, figures and one page about this run",
        f"  {program} eval --workdir={folder}",
        "      every other retrieval number of its codes",
        f"  {program} --config=own_images:FOLDER",
        "      your own images, one folder per class; own_embeddings:FEATURES,LABELS for vectors",
    ]


def print_table(table: Table) -> None:
    """Prints a table to standard output, 120 columns wide where that is not a terminal."""
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width).print(table)
