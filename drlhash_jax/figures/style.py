"""The look of every figure, and how a figure becomes files.

Series differ by colour, marker and line style at once, so that they stay apart in black-and-white print and for
colour-blind readers. Settings of the user's matplotlib play no part, and files carry no dates: the same data give the
same bytes under the same version of matplotlib. A figure is drawn twice, for paper and for dark screens.
"""

import csv
import importlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drlhash_jax.errors import UserError
from drlhash_jax.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Theme(NamedTuple):
    """Colours of a figure.

    Attributes:
      paper: behind everything.
      ink: text and axes.
      grid: lines behind the data.
      reference: lines to compare with, and frames.
      right: of rows that are relevant.
      wrong: of rows that are not.
      series: of series, in their order.
    """

    paper: str
    ink: str
    grid: str
    reference: str
    right: str
    wrong: str
    series: tuple[str, ...]


# Okabe and Ito, "Color Universal Design", 2008; without yellow, which white paper swallows.
_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LIGHT = Theme("#ffffff", "#000000", "#e0e0e0", "#595959", "#009E73", "#D55E00", (*_OKABE_ITO, "#000000"))
# The background of the page's cards in the dark; blue, vermilion and green are lighter than on paper.
_LIGHTER = ("#4DA3DB", "#EE7733", "#2BBF93", "#CC79A7", "#E69F00", "#8CD0F5", "#F0F0F0")
DARK = Theme("#1d2024", "#e4e6e9", "#363b42", "#a2a9b3", "#2BBF93", "#EE7733", _LIGHTER)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
# 7 colours, 12 markers and 5 lines: no two of 420 series share all three.
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
# Shapes that look small beside the others.
_LARGER_MARKERS = {"P": 5.5, "X": 5.5, "*": 7.5}
_SETTINGS = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    # Text stays text: it can be searched, and journals accept it.
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    # Names of datasets and methods are shown as they are, dollar signs included.
    "text.parse_math": False,
}
# Settings of matplotlib that take the ink's colour, and the paper's.
_INK = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
_PAPER = ("axes.facecolor", "figure.facecolor", "savefig.facecolor")


class FigureFiles(NamedTuple):
    """What a figure is on disk.

    Attributes:
      pdf: for print.
      png: the same as an image.
      dark_png: the same for dark screens.
      csv: the numbers behind it.
    """

    pdf: Path
    png: Path
    dark_png: Path
    csv: Path


class Values(NamedTuple):
    """The numbers behind a figure.

    Attributes:
      header: names of the columns.
      rows: a value for each column.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


# Draws on an empty figure in the colours of a theme.
Paint = Callable[["Figure", Theme], None]


def check_matplotlib() -> None:
    """Asks for matplotlib before minutes are spent.

    Raises:
      UserError: it is not installed.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise UserError("figures need the package matplotlib: pip install 'drlhash-jax[report]'") from error


@contextmanager
def _styled_figure(size: tuple[float, float], theme: Theme) -> Iterator["Figure"]:
    """An empty figure of so many inches; draw and save it inside the with block."""
    check_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS | dict.fromkeys(_INK, theme.ink) | dict.fromkeys(_PAPER, theme.paper))
        matplotlib.rcParams["grid.color"] = theme.grid
        figure = Figure(figsize=size, layout="constrained")
        # By default titles of two lines touch the edge.
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
        yield figure


def series_style(index: int, theme: Theme) -> dict[str, object]:
    """Colour, marker and line style of the series of this number."""
    marker = MARKERS[index % len(MARKERS)]
    return {
        "color": theme.series[index % len(theme.series)],
        "marker": marker,
        "markersize": _LARGER_MARKERS.get(marker, _SETTINGS["lines.markersize"]),
        "linestyle": LINES[index % len(LINES)],
        "markeredgecolor": theme.paper,
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


def _drawn(size: tuple[float, float], paint: Paint, theme: Theme, kinds: Sequence[str]) -> list[bytes]:
    """A figure as files of these kinds, "pdf" or "png"."""
    # None leaves a field out: the date, and the version of whatever drew it.
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    drawn = []
    with _styled_figure(size, theme) as figure:
        paint(figure, theme)
        for kind in kinds:
            file = io.BytesIO()
            figure.savefig(file, format=kind, metadata=metadata[kind])
            # The next file has everything in the same places, and need not find them again.
            figure.set_layout_engine("none")
            drawn.append(file.getvalue())
    return drawn


def save_figure(stem: Path, size: tuple[float, float], paint: Paint, values: Values) -> FigureFiles:
    """Writes a figure as PDF and PNG, the same for dark screens, and the numbers behind it as CSV.

    Args:
      stem: path without ending; its folder is created if needed.
      size: width and height in inches.
      paint: draws on an empty figure of this size; called once for each theme.
      values: the numbers behind the figure.

    Returns:
      FigureFiles.

    Raises:
      UserError: matplotlib is not installed.
    """
    stem = Path(stem)
    files = FigureFiles(*(stem.with_name(f"{stem.name}{end}") for end in (".pdf", ".png", "-dark.png", ".csv")))
    png, pdf = _drawn(size, paint, LIGHT, ("png", "pdf"))
    (dark_png,) = _drawn(size, paint, DARK, ("png",))
    for path, drawn in ((files.pdf, pdf), (files.png, png), (files.dark_png, dark_png)):
        write_atomically(path, lambda file, drawn=drawn: file.write(drawn))
    write_csv(files.csv, *values)
    return files
