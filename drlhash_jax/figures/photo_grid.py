"""A grid of photographs: what was found for a query."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drlhash_jax.figures.style import FigureFiles, Theme, Values, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 0.95  # inches of an image's side


class Retrieval(NamedTuple):
    """A row of `plot_retrievals`.

    Attributes:
      title: written beside it, e.g. the dataset and whether the example is a good one.
      query: uint8 image ``[H, W, 3]``, or ``[H, W]`` or ``[H, W, 1]`` for grey.
      found: n such images, nearest first.
      relevant: n booleans, whether the image shares a label with the query.
      distances: n Hamming distances.
      names: of the query and the n images, for the CSV, e.g. row numbers or file names.
      equally_near: rows at the distance of the last image that are not shown, since only the order of the database
        put them behind it.
    """

    title: str
    query: np.ndarray
    found: Sequence[np.ndarray]
    relevant: Sequence[bool]
    distances: Sequence[int]
    names: Sequence[object]
    equally_near: int = 0


class Example(NamedTuple):
    """A query that was chosen, and what was found for it.

    Attributes:
      query: its row.
      found: rows of the database int64 ``[n]``, nearest first.
      distances: of these, int64 ``[n]``.
      equally_near: further rows at the distance of the last one.
      good: whether it is a good example.
    """

    query: int
    found: np.ndarray
    distances: np.ndarray
    equally_near: int
    good: bool


def _nearest(query: np.ndarray, database: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows found first, their distances, and how many more are as near as the last of them."""
    distance = np.sum(query != database, axis=1)
    found = np.argsort(distance, kind="stable")[:top]
    last = distance[found[-1]]
    equally_near = int(np.sum(distance == last) - np.sum(distance[found] == last))
    return found, distance[found], equally_near


def choose_examples(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    relevant: np.ndarray,
    num_good: int,
    num_bad: int,
    top: int = 5,
) -> list[Example]:
    """Queries with the most and with the fewest relevant rows among the first ones found.

    Rows at equal distance come in database order, queries with equally many in query order; queries to which nothing
    is relevant are left out. The choice follows a rule and no taste; it shows extremes, not the average.

    Args:
      query_codes: {0, 1} array ``[Q, K]``.
      database_codes: {0, 1} array ``[N, K]``.
      relevant: bool ``[Q, N]``.
      num_good: queries with the most.
      num_bad: queries with the fewest.
      top: rows found for a query.

    Returns:
      Examples, good ones first.

    Raises:
      ValueError: shapes that do not fit, or fewer queries or rows than asked for.
    """
    shape = len(query_codes), len(database_codes)
    if relevant.shape != shape:
        raise ValueError(f"relevant is {list(relevant.shape)}, but there are {shape[0]} queries and {shape[1]} rows")
    counted = np.flatnonzero(relevant.any(axis=1))
    if num_good + num_bad > len(counted) or top > shape[1]:
        raise ValueError(
            f"{num_good} good and {num_bad} bad examples of {top} rows need more than {len(counted)} queries "
            f"with something relevant and {shape[1]} rows"
        )
    nearest = [_nearest(query_codes[query], database_codes, top) for query in counted]
    hits = np.array([relevant[query, rows].sum() for query, (rows, _, _) in zip(counted, nearest)])
    chosen = [(place, True) for place in np.argsort(-hits, kind="stable")[:num_good]]
    # The worst first, again in query order.
    chosen += [(place, False) for place in np.argsort(hits, kind="stable")[:num_bad]]
    return [Example(int(counted[place]), *nearest[place], good) for place, good in chosen]


def _show(axes: "Axes", image: np.ndarray, colour: str, line: str = "-") -> None:
    image = np.asarray(image)
    image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=2.2, linestyle=line)


def _mark(axes: "Axes", right: bool, theme: Theme) -> None:
    """A tick or a cross in the corner: colours alone are lost in print."""
    box = {"boxstyle": "square,pad=0.15", "facecolor": theme.paper, "edgecolor": "none"}
    colour = theme.right if right else theme.wrong
    style = {"color": colour, "weight": "bold", "size": 12, "ha": "right", "va": "top", "bbox": box}
    axes.text(0.97, 0.97, "✓" if right else "✗", transform=axes.transAxes, **style)


def _check(examples: Sequence[Retrieval]) -> int:
    """Images found, the same number in every row."""
    if not examples:
        raise ValueError("a figure needs at least one row")
    widths = {len(each.found) for each in examples}
    if len(widths) > 1 or widths == {0}:
        raise ValueError(f"rows have {sorted(widths)} images found: give every row equally many")
    for each in examples:
        lengths = len(each.relevant), len(each.distances), len(each.names) - 1
        if set(lengths) != widths:
            raise ValueError(f"row {each.title!r}: {len(each.found)} images, but {lengths} marks, distances and names")
    return widths.pop()


def _paint_row(cells: Sequence["Axes"], each: Retrieval, theme: Theme) -> None:
    """A query, a gap, what was found, and in the last column how many more are equally near."""
    query, gap, *found, rest = cells
    gap.remove()
    _show(query, each.query, theme.ink)
    query.set_ylabel(each.title, rotation=0, ha="right", va="center", labelpad=6)
    for axes, image, right, distance in zip(found, each.found, each.relevant, each.distances):
        _show(axes, image, theme.right if right else theme.wrong, "-" if right else "--")
        _mark(axes, bool(right), theme)
        axes.set_xlabel(f"distance {distance}", size=7, labelpad=2)
    rest.axis("off")
    if each.equally_near:
        text = f"{each.equally_near:,} more\nat distance {each.distances[-1]}"
        rest.text(0, 0.5, text, size=7, ha="left", va="center", transform=rest.transAxes)


def _paint(figure: "Figure", theme: Theme, examples: Sequence[Retrieval], width: int) -> None:
    # A narrow column of nothing keeps the query apart.
    ratios = [1, 0.15] + [1] * width + [0.8]
    grid = figure.subplots(len(examples), width + 3, squeeze=False, width_ratios=ratios)
    for cells, each in zip(grid, examples):
        _paint_row(cells, each, theme)
    grid[0][0].set_title("query")
    for rank, axes in enumerate(grid[0][2:-1], 1):
        axes.set_title(str(rank))


def plot_retrievals(stem: Path, examples: Sequence[Retrieval]) -> FigureFiles:
    """Queries with the images found for them (thesis Fig. 4.4): green frame and tick if relevant, red and cross if not.

    Args:
      stem: path without ending.
      examples: one row each.

    Returns:
      FigureFiles.

    Raises:
      ValueError: no rows, or rows of different lengths.
    """
    width = _check(examples)
    rows = [
        (each.title, each.names[0], rank, name, distance, int(right), each.equally_near if rank == width else 0)
        for each in examples
        for rank, (name, distance, right) in enumerate(zip(each.names[1:], each.distances, each.relevant), 1)
    ]
    header = ("row", "query", "rank", "found", "distance", "relevant", "more at this distance")
    size = _CELL * (width + 3), (_CELL + 0.2) * len(examples) + 0.2
    return save_figure(stem, size, lambda figure, theme: _paint(figure, theme, examples, width), Values(header, rows))
