"""The closing table of a run: one row a length, one column a way to get there."""

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_TITLES = {
    "ppo": "PPO",
    "greedy": "greedy",
    "best_of_random": "best of N",
    "entropy": "entropy",
    "random": "random ± sd",
    "first": "first p",
    "direct": "trained at p",
}


def _cell(row: dict | None) -> str:
    if row is None or row["map"] is None:
        return "-"
    return f"{row['map']:.3f} ± {row['map_sd']:.3f}" if "map_sd" in row else f"{row['map']:.3f}"


def results_table(rows: list[dict]) -> Table:
    """Table of mAP for the rows of metrics.json."""
    pool = next(row for row in rows if row["selector"] == "none" and row["bits"] == row["pool_bits"])
    cut = "all" if pool["map_at"] is None else pool["map_at"]
    title = f"mAP@{cut} on {pool['dataset']}, protocol {pool['protocol']}, seed {pool['seed']}"
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    table.add_column("bits", justify="right")
    table.add_column(f"all {pool['pool_bits']}", justify="right")
    others = [row for row in rows if row is not pool]
    keyed = {(row["bits"], "direct" if row["selector"] == "none" else row["selector"]): row for row in others}
    columns = [name for name in _TITLES if any(name == selector for _, selector in keyed)]
    for name in columns:
        table.add_column(_TITLES[name], justify="right")
    for bits in sorted({bits for bits, _ in keyed}):
        table.add_row(str(bits), _cell(pool), *(_cell(keyed.get((bits, name))) for name in columns))
    if not keyed:
        table.add_row(str(pool["bits"]), _cell(pool))
    return table


def print_table(table: Table) -> None:
    """Prints a table to standard output, 120 columns wide where that is not a terminal."""
    width = None if sys.stdout.isatty() else 120
    Console(width=width).print(table)
