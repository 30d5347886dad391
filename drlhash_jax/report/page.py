"""The report as one file of HTML: everything inside it, nothing fetched, every text escaped."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np
from PIL import Image

from drlhash_jax import __version__
from drlhash_jax.errors import UserError
from drlhash_jax.report.figures import Figure, over
from drlhash_jax.report.gather import Findings, Health
from drlhash_jax.report.measures import HEALTH_FIELDS
from drlhash_jax.report.table_files import PUBLISHED_NOTE, heads, lines, sources
from drlhash_jax.report.tables import Table
from drlhash_jax.report.workdirs import Record

MAX_BYTES = 5_000_000
# Twice the width of the page's text, for fine screens.
_MOST_PIXELS = 1800
_COLOURS = 256


class _Grid(NamedTuple):
    """A table on the page; `rows` begin with a heading each."""

    title: str
    head: list[str]
    rows: list[list[str]]
    below: list[str]


class _Picture(NamedTuple):
    figure: Figure
    source: str
    width: int
    height: int


class _Card(NamedTuple):
    """Dataset, protocol and cut-off; pairs of what was measured and its number."""

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


def _picture(figure: Figure) -> _Picture:
    """A figure's PNG as a data URI, no larger than screens show, with a palette where that loses nothing to see."""
    image = Image.open(figure.png).convert("RGB")
    if image.width > _MOST_PIXELS:
        image = image.resize((_MOST_PIXELS, round(image.height * _MOST_PIXELS / image.width)), Image.Resampling.LANCZOS)
    # Photographs have more colours than a palette, drawings fewer.
    if not figure.photographs:
        image = image.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    # Figures are drawn at 200 dots an inch, and an inch is 100 pixels of the page.
    encoded = base64.b64encode(file.getvalue()).decode()
    return _Picture(figure, f"data:image/png;base64,{encoded}", image.width // 2, image.height // 2)


def _grid(table: Table) -> _Grid:
    return _Grid(table.title, heads(table), lines(table), sources(table))


def _number(value: float, field: str) -> str:
    if np.isnan(value):
        return "-"
    whole = field in ("bits", "distinct codes", "fullest bucket")
    return f"{value:,.0f}" if whole else f"{value:.3f}" if value == 0 or value >= 0.001 else f"{value:.1e}"


def _health_grid(health: Health) -> _Grid:
    rows = [
        [name, *(_number(value, field) for value, field in zip(values, HEALTH_FIELDS))] for name, values in health.rows
    ]
    return _Grid(
        f"{health.dataset}, codes of the database; {over(range(health.runs))}", ["codes", *HEALTH_FIELDS], rows, []
    )


def summary_cards(tables: Sequence[Table]) -> list[_Card]:
    """The highest mean mAP at every length, a card for each dataset; the first of equal ones."""
    cards = []
    for table in tables:
        if table.value != "map":
            continue
        numbers = []
        for group, bits in table.columns:
            cells = [(method, table.cells.get((method, group, bits))) for method in table.methods]
            known = [(method, cell) for method, cell in cells if cell is not None and cell.mean is not None]
            if known:
                method, cell = max(known, key=lambda each: each[1].mean)
                spread = "" if cell.sd is None else f" ± {cell.sd:.3f}"
                numbers.append((f"{bits} bits", f"{cell.mean:.3f}{spread}", method.name))
        cards.append(_Card(table.title, numbers))
    return cards


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _run_facts(record: Record) -> _RunFacts:
    facts = dict(record.facts)
    stages = facts.pop("stages", {})
    seconds = [(name, f"{stage['seconds']:,.1f}") for name, stage in stages.items()]
    total = sum(stage["seconds"] for stage in stages.values())
    split = facts.pop("split", {})
    first = {
        "seed": facts.pop("seed", "not recorded"),
        "git revision": facts.pop("git_revision", None) or "not recorded",
        "split": f"{split.get('protocol', 'protocol not recorded')}, SHA-256 {split.get('digest', 'not recorded')}",
        "seconds of all stages": f"{total:,.1f}",
    }
    # An empty list of classes says nothing.
    named = [(key.replace("_", " "), _text(value)) for key, value in (first | facts).items() if value != []]
    config = sorted((record.run.config or {}).items())
    return _RunFacts(str(record.path), named, seconds, [(key, _text(value)) for key, value in config])


def _definitions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Definitions of the fields; runs of one table agree on those that it rests on."""
    return list(records[0].run.definitions.items())


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
    environment = make_environment()
    text = resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    html = environment.from_string(text).render(
        version=__version__,
        cards=summary_cards(findings.tables),
        runs=[_run_facts(record) for record in findings.records],
        tables={
            "mAP": [_grid(table) for table in findings.tables if table.value == "map"],
            "Precision within Hamming radius 2": [_grid(t) for t in findings.tables if t.value == "precision_radius2"],
        },
        # Their heading says already that they were not measured here.
        published=[_grid(table)._replace(title="; ".join(map(str, table.groups))) for table in published],
        published_note=PUBLISHED_NOTE,
        figures={
            heading: [_picture(figure) for figure in figures]
            for heading, figures in findings.figures.items()
            if figures
        },
        health=[_health_grid(health) for health in findings.health],
        health_fields=HEALTH_FIELDS,
        definitions=_definitions(findings.records),
        readings=read_readings(),
        notes=findings.notes,
        written=written,
    )
    page = html.encode()
    if len(page) > MAX_BYTES:
        raise UserError(
            f"report.html would have {len(page) / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f}: give fewer datasets at "
            "a time, or leave --robustness out"
        )
    return page


def make_environment():
    """Jinja's environment, which escapes every value.

    Raises:
      UserError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise UserError("the page needs the package jinja2: pip install 'drlhash-jax[report]'") from error
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
