"""A comparison as one page of HTML."""

from pathlib import Path
from typing import Any

from drlhash_jax import __version__
from drlhash_jax.comparison.tables import tables_of
from drlhash_jax.files import write_atomically
from drlhash_jax.pages import render
from drlhash_jax.runs import flatten_config

PAGE = "comparison.html"


def _shown(settings: dict[str, Any]) -> str:
    flat = flatten_config(settings)
    return ", ".join(f"{name} {value}" for name, value in flat.items()) or "its defaults"


def _tried(settings: dict[str, Any]) -> dict[str, Any]:
    """What was chosen for a method, and the mAP of every setting that was tried."""
    rows = [
        (_shown(each["settings"]), f"failed: {each['failed']}" if each["map"] is None else f"{each['map']:.3f}")
        for each in settings["tried"]
    ]
    return {"chosen": _shown(settings["chosen"]), "rows": rows}


def write_page(folder: Path, summary: dict[str, Any]) -> Path:
    """Writes comparison.html; returns its path.

    Args:
      folder: of the comparison.
      summary: content of comparison.json, see `summarise`.

    Raises:
      UserError: jinja2 is not installed.
    """
    seeds = summary["seeds"]
    several = len(seeds) > 1
    num_methods = len({row["name"] for row in summary["rows"] if row["kind"] == "method"})
    content = {
        "version": __version__,
        "title": f"Comparison of {num_methods} methods",
        "subtitle": f"Mean ± sd over seeds {', '.join(map(str, seeds))}." if several else f"One seed, {seeds[0]}.",
        "written": ["comparison.json", "comparison.md", "comparison.csv"],
        "failed": summary["failed"],
        "tables": tables_of(summary),
        "settings": {name: _tried(each) for name, each in summary["settings"].items()},
        "definitions": summary["definitions"],
    }
    path, page = folder / PAGE, render("drlhash_jax.report", "comparison.html.jinja", content)
    write_atomically(path, lambda file: file.write(page))
    return path
