"""The report as one file of HTML: everything inside it, nothing fetched, every text escaped."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from drlhash_jax import __version__
from drlhash_jax.errors import UserError
from drlhash_jax.pages import render
from drlhash_jax.report.gather import Findings, Health
from drlhash_jax.report.measures import HEALTH_FIELDS
from drlhash_jax.report.panels import Figure, over
from drlhash_jax.report.records import Record
from drlhash_jax.report.table_files import PUBLISHED_NOTE, Text, below, heads, lines
from drlhash_jax.report.tables import Group, Table, best_cells

MAX_BYTES = 5_000_000
# Field of the result rows -> heading of its tables.
VALUES = {"map": "mAP", "precision_radius2": "Precision within Hamming radius 2"}
# Twice the width of the page's text, for fine screens.
_MOST_PIXELS = 1800
_COLOURS = 256
_JPEG_QUALITY = 88
# What a telephone shows at once: letters of a table's line, and pixels that a figure can be shrunk from.
_NARROW_LETTERS, _NARROW_PIXELS = 40, 440
# Letters that the first column of a table, which is broken into lines, and the space between two columns take.
_FIRST_COLUMN, _BETWEEN = 16, 3


class Grid(NamedTuple):
    """A table on the page; `rows` begin with a heading each."""

    title: str
    head: list[str]
    rows: list[list[Text]]
    below: list[str]

    @property
    def wide(self) -> bool:
        """Whether a narrow screen has to scroll it."""
        columns = list(zip(*([cell.text for cell in row] for row in self.rows)))[1:]
        heads = [max(map(len, head.split())) for head in self.head[1:]]
        letters = [_BETWEEN + max(head, *map(len, column)) for head, column in zip(heads, columns)]
        return _FIRST_COLUMN + sum(letters) > _NARROW_LETTERS


class _Picture(NamedTuple):
    """A figure with its images as data URIs, on paper and in the dark, and its size on the page in pixels."""

    figure: Figure
    source: str
    dark_source: str
    width: int
    height: int

    @property
    def wide(self) -> bool:
        """Whether a narrow screen has to scroll it."""
        return self.width > _NARROW_PIXELS


class _Card(NamedTuple):
    """Dataset, protocol and cut-off; for each length the number of bits, what was measured, and what reached it."""

    title: str
    numbers: list[tuple[str, str, str]]


class _RunFacts(NamedTuple):
    """Where a run's numbers come from."""

    path: str
    facts: list[tuple[str, str]]
    seconds: list[tuple[str, str]]
    config: list[tuple[str, str]]


def read_readings() -> list[dict[str, str]]:
    """What differs from the thesis: rows of thesis, here and why; the README shows the same."""
    text = resources.files(__package__).joinpath("readings.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _data_uri(path: Path, photographs: bool) -> tuple[str, tuple[int, int]]:
    """An image as a data URI, no larger than screens show, and its size.

    Photographs become JPEG; drawings PNG with a palette, where that loses nothing to see.
    """
    image = Image.open(path).convert("RGB")
    if image.width > _MOST_PIXELS:
        image = image.resize((_MOST_PIXELS, round(image.height * _MOST_PIXELS / image.width)), Image.Resampling.LANCZOS)
    file, kind = io.BytesIO(), "jpeg" if photographs else "png"
    if photographs:
        image.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    else:
        reduced = image.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        reduced.save(file, "PNG", optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", image.size


def _picture(figure: Figure) -> _Picture:
    source, (width, height) = _data_uri(figure.files.png, figure.photographs)
    dark_source, _ = _data_uri(figure.files.dark_png, figure.photographs)
    # Figures are drawn at 200 dots per inch, and an inch is 100 pixels of the page.
    return _Picture(figure, source, dark_source, width // 2, height // 2)


def _grid(table: Table) -> Grid:
    return Grid(table.title, heads(table), lines(table), below(table))


def _number(value: float, field: str) -> str:
    if np.isnan(value):
        return "-"
    whole = field in ("bits", "distinct codes", "fullest bucket")
    return f"{value:,.0f}" if whole else f"{value:.3f}" if value == 0 or value >= 0.001 else f"{value:.1e}"


def _health_grid(health: Health) -> Grid:
    rows = [
        [Text(name), *(Text(_number(value, field)) for value, field in zip(values, HEALTH_FIELDS))]
        for name, values in health.rows
    ]
    title = f"{health.dataset}, codes of the database; {over(range(health.runs))}"
    return Grid(title, ["codes", *HEALTH_FIELDS], rows, [])


def _summary(table: Table, column: tuple[Group, int]) -> tuple[str, str] | None:
    """What is known of the highest mAP of a column, and of what reached it; one seed tells no best."""
    best = best_cells(table)
    cells = {method: table.cells.get((method, *column)) for method in table.methods}
    known = {method: cell for method, cell in cells.items() if cell is not None and cell.mean is not None}
    if not known:
        return None
    if not any((method, *column) in best for method in known):
        low, high = (each(cell.mean for cell in known.values()) for each in (min, max))
        if len(known) == 1:
            return f"{high:.3f}", next(iter(known)).name
        return f"{low:.3f} to {high:.3f}", f"{len(known)} ways, and too few seeds to tell a best one"
    top = max(known.values(), key=lambda cell: cell.mean)
    names = sorted((method for method in known if (method, *column) in best), key=lambda each: -known[each].mean)
    return f"{top.mean:.3f} ± {top.sd:.3f}", " · ".join(method.name for method in names)


def summary_cards(tables: Sequence[Table]) -> list[_Card]:
    """The highest mean mAP at every length, a card for each dataset, and all that cannot be told from it."""
    cards = []
    for table in tables:
        if table.value == "map":
            found = [(f"{column[1]} bits", _summary(table, column)) for column in table.columns]
            cards.append(_Card(table.title, [(bits, *summary) for bits, summary in found if summary]))
    return cards


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _run_facts(record: Record) -> _RunFacts:
    facts = dict(record.run.facts)
    stages, split = facts.pop("stages", {}), facts.pop("split", {})
    sessions = facts.pop("sessions", [])
    taken = {name: float(stage.get("seconds", 0)) for name, stage in stages.items()}
    revisions = dict.fromkeys(session.get("git_revision") for session in sessions)
    first = {
        "seed": facts.pop("seed", "not recorded"),
        "git revision": ", ".join(filter(None, revisions)) or "not recorded",
        "split": f"{split.get('protocol', 'protocol not recorded')}, SHA-256 {split.get('digest', 'not recorded')}",
        "seconds of all stages": f"{sum(taken.values()):,.1f}",
    }
    last = {f"session {number}": session for number, session in enumerate(sessions, 1)}
    # An empty list of classes says nothing.
    named = [(key.replace("_", " "), _text(value)) for key, value in (first | facts | last).items() if value != []]
    seconds = [(name, f"{each:,.1f}") for name, each in taken.items()]
    config = sorted(record.run.config.items())
    return _RunFacts(str(record.run.path), named, seconds, [(key, _text(value)) for key, value in config])


def _definitions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Definitions of the fields; runs of one table agree on those that it rests on."""
    found: dict[str, str] = {}
    for record in records:
        found = record.run.definitions | found
    return list(found.items())


def _content(findings: Findings, published: Sequence[Table], written: Sequence[str]) -> dict[str, object]:
    """What the template shows, by the names that it has there."""
    by_value = {value: [_grid(table) for table in findings.tables if table.value == value] for value in VALUES}
    return {
        "version": __version__,
        "cards": summary_cards(findings.tables),
        "runs": [_run_facts(record) for record in findings.records],
        "tables": {title: by_value[value] for value, title in VALUES.items()},
        # Their heading says already that they were not measured here.
        "published": [_grid(table)._replace(title="; ".join(map(str, table.groups))) for table in published],
        "published_note": PUBLISHED_NOTE,
        "figures": {heading: list(map(_picture, drawn)) for heading, drawn in findings.figures.items() if drawn},
        "health": [_health_grid(health) for health in findings.health],
        "health_fields": HEALTH_FIELDS,
        "definitions": _definitions(findings.records),
        "readings": read_readings(),
        "notes": findings.notes,
        "written": written,
    }


def render_page(findings: Findings, published: Sequence[Table], written: Sequence[str]) -> bytes:
    """The page.

    Args:
      findings: what runs gave.
      published: tables of published values, which stand apart.
      written: names of the other files of the report.

    Returns:
      HTML in UTF-8, at most `MAX_BYTES`.

    Raises:
      UserError: jinja2 is not installed, or the page would be larger.
    """
    page = render(__package__, "page.html.jinja", _content(findings, published, written))
    if len(page) > MAX_BYTES:
        raise UserError(
            f"report.html would have {len(page) / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}: give fewer datasets at "
            "a time, or leave --robustness out"
        )
    return page
