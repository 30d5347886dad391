"""The numbers of an ablation: means over seeds, differences with their intervals; as JSON, CSV, Markdown and a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from drlhash_jax import __version__
from drlhash_jax.ablation.settings import Ablation, Cell
from drlhash_jax.bit_selection import SELECTORS
from drlhash_jax.comparison.summary import mean_sd
from drlhash_jax.comparison.tables import TITLES, write_markdown
from drlhash_jax.evaluation.numbers import rounded
from drlhash_jax.figures import write_csv
from drlhash_jax.files import write_atomically
from drlhash_jax.pages import render
from drlhash_jax.report.page import Grid
from drlhash_jax.report.table_files import Text

Row = dict[str, Any]

# What a choice of bits is compared with.
_OTHERS = {"greedy": "greedy", "direct": "training at that length", "pool": "all bits"}
_DEFINITIONS = {
    "map": "mean average precision of the reported queries, expected over ties; mean over seeds",
    "map_sd": "standard deviation (n - 1) over seeds",
    "over_greedy": "map less that of greedy from the same pool with the same reward, seed by seed: mean, and the ends "
    "of Student's 95 % interval over seeds; of many intervals one in twenty leaves out 0 by chance",
    "over_direct": "the same, less that of an encoder trained at that length",
    "over_pool": "the same, less that of all bits of the pool",
    "seconds": "wall time of the selection, compilation included; mean over seeds",
}
_CSV = (
    *("table", "pool", "reward", "bits", "selector", "num_seeds", "map", "map_sd", "seconds"),
    *(f"over_{other}{end}" for other in _OTHERS for end in ("", "_low", "_high")),
)


def student_interval(differences: Sequence[float]) -> list[float]:
    """Mean of paired differences, and the ends of Student's 95 % interval.

    Args:
      differences: one per seed, two at least.

    Returns:
      Mean, lower and upper end.
    """
    values = np.asarray(differences, np.float64)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [rounded(each) for each in (values.mean(), values.mean() - half, values.mean() + half)]


def _maps(rows: Mapping[Cell, list[Row]], cells: Sequence[Cell], **wanted: Any) -> list[float]:
    """mAP of the one row of each run that has the wanted fields."""
    fits = lambda row: all(row[name] == value for name, value in wanted.items())
    return [next(row["map"] for row in rows[cell] if fits(row)) for cell in cells]


def _row(ablation: Ablation, rows: Mapping[Cell, list[Row]], cells: list[Cell], bits: int, selector: str) -> Row:
    """The row of one selector at one length, over the seeds of a pool and a reward."""
    first = [cell._replace(reward=ablation.settings.rewards[0]) for cell in cells]
    chosen = _maps(rows, cells, role="selected", bits=bits, selector=selector)
    others = {
        "greedy": _maps(rows, cells, role="selected", bits=bits, selector="greedy"),
        # Trained beside the first reward; the pool itself is what it is compared with where the lengths are equal.
        "direct": _maps(rows, first, role="direct" if bits != ablation.base["pool_bits"] else "pool", bits=bits),
        "pool": _maps(rows, cells, role="pool"),
    }
    seconds = [
        row["seconds"] for cell in cells for row in rows[cell] if (row["bits"], row["selector"]) == (bits, selector)
    ]
    value = {"table": cells[0].table, "pool": cells[0].pool, "reward": cells[0].reward, "bits": bits}
    mean, sd = mean_sd(chosen)
    value |= {"selector": selector, "num_seeds": len(cells), "map": mean, "map_sd": sd}
    value["seconds"] = round(float(np.mean(seconds)), 2)
    for name, maps in others.items():
        if (name, selector) != ("greedy", "greedy"):
            value[f"over_{name}"] = student_interval(np.subtract(chosen, maps))
    return value


def ablation_content(ablation: Ablation, rows: Mapping[Cell, list[Row]]) -> dict[str, Any]:
    """The content of ablation.json.

    Args:
      ablation: Ablation.
      rows: result rows of each run, see `pipeline.train_and_evaluate`.

    Returns:
      "definitions", "seeds" and "rows": one for each table, pool, reward, length and selector.
    """
    groups: dict[tuple, list[Cell]] = {}
    for cell in ablation.cells:
        groups.setdefault(cell[:3], []).append(cell)
    settings = ablation.settings
    selectors = [name for name in SELECTORS if name in settings.selectors]
    found = [
        _row(ablation, rows, cells, bits, selector)
        for cells in groups.values()
        for bits in ablation.base["bits"]
        for selector in selectors
    ]
    return {"definitions": _DEFINITIONS, "seeds": list(settings.seeds), "rows": found}


def _difference(row: Row, other: str) -> Text:
    if f"over_{other}" not in row:
        return Text("-")
    mean, low, high = row[f"over_{other}"]
    # Bold where the interval leaves out 0.
    return Text(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", low > 0 or high < 0)


def _grids(content: dict[str, Any]) -> dict[str, list[Grid]]:
    """Title of a section -> its tables, one for each length."""
    sections: dict[str, list[Grid]] = {}
    below = ["Bold: the 95 % interval over seeds leaves out 0."]
    head = ["bits chosen by", "mAP", *(f"over {text}" for text in _OTHERS.values()), "seconds"]
    for table, pool, reward in dict.fromkeys((row["table"], row["pool"], row["reward"]) for row in content["rows"]):
        rows = [row for row in content["rows"] if (row["table"], row["pool"], row["reward"]) == (table, pool, reward)]
        title = f"{TITLES[table]}: bits of {pool}, reward on {reward} codes"
        sections[title] = [
            Grid(
                f"{bits} bits",
                head,
                [
                    [Text(SELECTORS[row["selector"]].label), Text(f"{row['map']:.3f} ± {row['map_sd']:.3f}")]
                    + [_difference(row, other) for other in _OTHERS]
                    + [Text(f"{row['seconds']:.1f}")]
                    for row in rows
                    if row["bits"] == bits
                ],
                below,
            )
            for bits in dict.fromkeys(row["bits"] for row in rows)
        ]
    return sections


def _csv_row(row: Row) -> tuple:
    flat = dict(row)
    for other in _OTHERS:
        ends = row.get(f"over_{other}") or (None,) * 3
        flat |= dict(zip((f"over_{other}", f"over_{other}_low", f"over_{other}_high"), ends))
    return tuple(flat[name] for name in _CSV)


def write_tables(folder: Path, content: dict[str, Any]) -> list[Path]:
    """Writes ablation.md and ablation.csv; returns their paths."""
    markdown, table = folder / "ablation.md", folder / "ablation.csv"
    write_markdown(markdown, _grids(content))
    write_csv(table, _CSV, list(map(_csv_row, content["rows"])))
    return [markdown, table]


def write_page(folder: Path, content: dict[str, Any]) -> Path:
    """Writes ablation.html; returns its path.

    Raises:
      UserError: jinja2 is not installed.
    """
    shown = {
        "version": __version__,
        "title": "What choosing bits is worth",
        "subtitle": f"Mean ± sd over seeds {', '.join(map(str, content['seeds']))}.",
        "written": ["ablation.json", "ablation.md", "ablation.csv"],
        "failed": {},
        "tables": _grids(content),
        "settings": {},
        "definitions": content["definitions"],
    }
    path, page = folder / "ablation.html", render("drlhash_jax.report", "comparison.html.jinja", shown)
    write_atomically(path, lambda file: file.write(page))
    return path
