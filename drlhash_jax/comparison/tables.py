"""Tables of a comparison: on the page, as Markdown, and every number as CSV."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from drlhash_jax.figures import write_csv
from drlhash_jax.files import write_atomically
from drlhash_jax.report.page import Grid
from drlhash_jax.report.table_files import Text

Row = dict[str, Any]

_MAPS = {
    "hamming": "mAP by Hamming distance",
    "asymmetric": "mAP of real-valued queries against codes",
    "real": "mAP of real values on both sides",
}
TITLES = {"seen": "Classes that were trained on", "unseen": "Classes that were never trained on"}
_CSV = (
    *("table", "protocol", "kind", "name", "bits", "bytes", "query", "num_seeds", "map", "map_sd"),
    *("map_asymmetric", "map_asymmetric_sd", "map_real", "map_real_sd", "difference", "low", "high"),
    *("precision_radius2", "seconds", "peak_mib"),
)


def _best(rows: list[Row], ranking: str) -> set[int]:
    """Numbers of the rows that reach the best of theirs: mean + sd at least its mean - sd. One seed tells no best."""
    known = [(number, row["map"][ranking], row["map_sd"][ranking]) for number, row in enumerate(rows)]
    if len(known) < 2 or any(sd is None for _, _, sd in known):
        return set()
    _, mean, sd = max(known, key=lambda each: each[1])
    return {number for number, other, spread in known if other + spread >= mean - sd}


def _spread(mean: float, sd: float | None) -> str:
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def _by_length(
    rows: list[Row], title: str, cell: Callable[[Row], str], bold: Callable[[list[Row]], set[int]], below: list[str]
) -> Grid:
    """Methods down, lengths across."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    lengths = sorted({row["bits"] for row in rows})
    columns = {bits: [row for row in rows if row["bits"] == bits] for bits in lengths}
    best = {bits: {column[number]["name"] for number in bold(column)} for bits, column in columns.items()}
    lines = []
    for name in names:
        cells = []
        for bits, column in columns.items():
            found = [row for row in column if row["name"] == name]
            cells.append(Text(cell(found[0]) if found else "-", name in best[bits]))
        lines.append([Text(name), *cells])
    return Grid(title, ["method", *(f"{bits} bits" for bits in lengths)], lines, below)


def _difference(row: Row) -> str:
    if "difference" not in row:
        return "-"
    low, high = row["difference_interval"] or (float("nan"),) * 2
    return f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _costs(rows: list[Row]) -> Grid:
    lines = [
        [Text(row["name"]), Text(f"{row['bits']}"), Text(f"{row['bytes']}"), Text(f"{row['seconds']:,.1f}")]
        + [Text(f"{row['peak_mib']:,}")]
        for row in rows
    ]
    return Grid("What it costs", ["method", "bits", "bytes a row", "seconds a run", "peak MiB"], lines, [])


def _rivals(rows: list[Row]) -> Grid:
    lines = [
        [Text(row["name"]), Text(_spread(row["map"]["real"], row["map_sd"]["real"]))]
        + [Text(f"{row['bytes']:g}"), Text(row["query"]), Text("yes" if row["learns_labels"] else "no")]
        for row in rows
    ]
    head = ["rival", "mAP", "bytes a row", "a query needs", "labels"]
    return Grid("Rivals, ranked by real-valued scores", head, lines, ["Not Hamming rankings; ties are exact."])


def tables_of(summary: dict[str, Any]) -> dict[str, list[Grid]]:
    """Title of a section -> its tables.

    Args:
      summary: content of comparison.json, see `summarise`.
    """
    several = len(summary["seeds"]) > 1
    below = ["Bold: the highest mean of a column, and all whose mean + sd reaches its mean - sd."] if several else []
    sections = {}
    for table in dict.fromkeys(row["table"] for row in summary["rows"]):
        rows = [row for row in summary["rows"] if row["table"] == table]
        methods, rivals = ([row for row in rows if row["kind"] == kind] for kind in ("method", "rival"))
        grids = []
        for ranking, title in _MAPS.items() if methods else ():
            cell = lambda row, ranking=ranking: _spread(row["map"][ranking], row["map_sd"][ranking])
            bold = lambda column, ranking=ranking: _best(column, ranking)
            grids.append(_by_length(methods, title, cell, bold, below))
            if ranking == "hamming" and len({row["name"] for row in methods}) > 1:
                title = f"Difference from {summary['reference']}, on the same queries"
                note = ["[a, b]: 95 % interval over queries."]
                grids.append(_by_length(methods, title, _difference, lambda column: set(), note))
        grids += [_rivals(rivals)] if rivals else []
        if methods:
            radius = lambda row: f"{row['precision_radius2']:.3f}"
            grids.append(_by_length(methods, "Precision within Hamming radius 2", radius, lambda column: set(), []))
            grids.append(_costs(methods))
        sections[f"{TITLES[table]}: {rows[0]['protocol']}"] = grids
    return sections


def _markdown(grid: Grid) -> str:
    mark = lambda cell: f"**{cell.text}**" if cell.bold else cell.text
    rows = [grid.head, ["---", *["---:"] * (len(grid.head) - 1)], *([mark(cell) for cell in row] for row in grid.rows)]
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([f"### {grid.title}", body, *grid.below])


def _csv_row(row: Row) -> tuple:
    low, high = row.get("difference_interval") or (None, None)
    maps = [(row["map"].get(name), row["map_sd"].get(name)) for name in _MAPS]
    flat = {"map": maps[0][0], "map_sd": maps[0][1], "map_asymmetric": maps[1][0], "map_asymmetric_sd": maps[1][1]}
    flat |= {"map_real": maps[2][0], "map_real_sd": maps[2][1], "low": low, "high": high}
    return tuple((row | flat).get(name) for name in _CSV)


def write_markdown(path: Path, sections: dict[str, list[Grid]]) -> None:
    """Writes the tables of sections, title -> tables, as Markdown."""
    parts = []
    for title, grids in sections.items():
        parts += [f"## {title}", *map(_markdown, grids)]
    write_atomically(path, lambda file: file.write(("\n\n".join(parts) + "\n").encode()))


def write_tables(folder: Path, summary: dict[str, Any]) -> list[Path]:
    """Writes comparison.md and comparison.csv; returns their paths."""
    markdown, table = folder / "comparison.md", folder / "comparison.csv"
    write_markdown(markdown, tables_of(summary))
    write_csv(table, _CSV, list(map(_csv_row, summary["rows"])))
    return [markdown, table]
