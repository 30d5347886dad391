"""The look of every figure, and how a figure becomes files.

Series differ by colour, marker and line style at once, so that they stay apart in black-and-white print and for
colour-blind readers. Settings of the user's matplotlib play no part, and files carry no dates: the same data give the
same bytes under the same version of matplotlib.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drlhash_jax.errors import UserError
from drlhash_jax.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design", 2008; without yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
# 7 colours, 12 markers and 5 lines: no two of 420 series share all three.
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
# Shapes that look small beside the others.
_LARGER_MARKERS = {"P": 5.5, "X": 5.5, "*": 7.5}
RIGHT, WRONG = "#009E73", "#D55E00"
REFERENCE = "0.35"
_SETTINGS = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    # Letters as letters, which can be searched and are accepted by journals.
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    # Names of datasets and methods are shown as they are, dollar signs included.
    "text.parse_math": False,
}


@contextmanager
def styled_figure(width: float, height: float) -> Iterator["Figure"]:
    """An empty figure of so many inches; draw and save it inside the with block.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("figures need the package matplotlib: pip install 'drlhash-jax[report]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(width, height), layout="constrained")
        # By default titles of two lines touch the edge.
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
        yield figure


def series_style(index: int) -> dict[str, object]:
    """Colour, marker and line style of the series of this number."""
    marker = MARKERS[index % len(MARKERS)]
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": marker,
        "markersize": _LARGER_MARKERS.get(marker, _SETTINGS["lines.markersize"]),
        "linestyle": LINES[index % len(LINES)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _cell(value: object) -> object:
    """A value as text of a CSV file: nine digits give every float32 back, and what is not a number is left empty."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{float(value):.9g}" if np.isfinite(value) else ""
    return value


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes a header and rows of values, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def save_figure(
    figure: "Figure", stem: Path, header: Sequence[str], rows: Sequence[Sequence[object]]
) -> tuple[Path, Path, Path]:
    """Writes a figure as PDF and PNG, and the numbers behind it as CSV.

    Args:
      figure: as `styled_figure` made it.
      stem: path without ending; its folder is created if needed.
      header: names of the columns.
      rows: values.

    Returns:
      The three paths.
    """
    stem = Path(stem)
    paths = tuple(stem.with_name(f"{stem.name}.{ending}") for ending in ("pdf", "png", "csv"))
    # None leaves a field out: the date, and the version of whatever drew it.
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    for path, (kind, fields) in zip(paths, metadata.items()):
        drawn = io.BytesIO()
        figure.savefig(drawn, format=kind, metadata=fields)
        write_atomically(path, lambda file, drawn=drawn: file.write(drawn.getvalue()))
    write_csv(paths[2], header, rows)
    return paths
