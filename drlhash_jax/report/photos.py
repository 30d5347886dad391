"""Figures of images: what was found for a query, and copies of an image under attack."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drlhash_jax.report.style import RIGHT, WRONG, save_figure, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    """

    title: str
    query: np.ndarray
    found: Sequence[np.ndarray]
    relevant: Sequence[bool]
    distances: Sequence[int]
    names: Sequence[object]


def choose_examples(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    relevant: np.ndarray,
    num_good: int,
    num_bad: int,
    top: int = 5,
) -> list[tuple[int, np.ndarray, np.ndarray, bool]]:
    """Queries with the most and with the fewest relevant rows among the first ones found.

    Rows at equal distance come in database order, queries with equally many in query order; queries to which nothing
    is relevant are left out. So the choice is a rule and nobody's taste, but extremes it shows, not the average.

    Args:
      query_codes: {0, 1} array ``[Q, K]``.
      database_codes: {0, 1} array ``[N, K]``.
      relevant: bool ``[Q, N]``.
      num_good: queries with the most.
      num_bad: queries with the fewest.
      top: rows found a query.

    Returns:
      One tuple an example, good ones first: query row, database rows int64 ``[top]``, distances int64 ``[top]``,
      whether it is a good one.

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
    found, distances = [], []
    for query in counted:
        distance = np.sum(query_codes[query] != database_codes, axis=1)
        found.append(np.argsort(distance, kind="stable")[:top])
        distances.append(distance[found[-1]])
    hits = np.array([relevant[query, rows].sum() for query, rows in zip(counted, found)])
    order = np.argsort(-hits, kind="stable")
    chosen = [(place, True) for place in order[:num_good]]
    # The worst first, again in query order.
    chosen += [(place, False) for place in np.argsort(hits, kind="stable")[:num_bad]]
    return [(int(counted[place]), found[place], distances[place], good) for place, good in chosen]


def _show(axes: "Axes", image: np.ndarray, colour: str, line: str = "-") -> None:
    image = np.asarray(image)
    image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=2.2, linestyle=line)


def _mark(axes: "Axes", right: bool) -> None:
    """A tick or a cross in the corner: colours alone are lost in print."""
    box = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"}
    style = {"color": RIGHT if right else WRONG, "weight": "bold", "size": 12, "ha": "right", "va": "top", "bbox": box}
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


def plot_retrievals(stem: Path, examples: Sequence[Retrieval]) -> tuple[Path, Path, Path]:
    """Queries with the images found for them (thesis Fig. 4.4): green frame and tick if relevant, red and cross if not.

    Args:
      stem: path without ending.
      examples: one row each.

    Returns:
      Paths of the PDF, the PNG and the CSV.

    Raises:
      ValueError: no rows, or rows of different lengths.
    """
    width = _check(examples)
    with styled_figure(_CELL * (width + 2.2), (_CELL + 0.2) * len(examples) + 0.2) as figure:
        # A narrow column of nothing keeps the query apart.
        ratios = [1, 0.15] + [1] * width
        grid = figure.subplots(len(examples), width + 2, squeeze=False, width_ratios=ratios)
        for row, each in enumerate(examples):
            query, gap, *cells = grid[row]
            gap.remove()
            _show(query, each.query, "black")
            query.set_ylabel(each.title, rotation=0, ha="right", va="center", labelpad=6)
            for axes, image, right, distance in zip(cells, each.found, each.relevant, each.distances):
                _show(axes, image, RIGHT if right else WRONG, "-" if right else "--")
                _mark(axes, bool(right))
                axes.set_xlabel(f"distance {distance}", size=7, labelpad=2)
        grid[0][0].set_title("query")
        for rank, axes in enumerate(grid[0][2:], 1):
            axes.set_title(str(rank))
        rows = [
            (each.title, each.names[0], rank, name, distance, int(right))
            for each in examples
            for rank, (name, distance, right) in enumerate(zip(each.names[1:], each.distances, each.relevant), 1)
        ]
        return save_figure(figure, stem, ("row", "query", "rank", "found", "distance", "relevant"), rows)


def plot_copies(
    stem: Path, copies: Mapping[str, np.ndarray], notes: Mapping[str, str], columns: int = 6
) -> tuple[Path, Path, Path]:
    """An image and its copies under attack (thesis Fig. 1.3).

    Args:
      stem: path without ending.
      copies: name -> uint8 image ``[H, W, 3]``, the image itself first.
      notes: name -> what to write below, e.g. the Hamming distance to the image itself.
      columns: images a line.

    Returns:
      Paths of the PDF, the PNG and the CSV.

    Raises:
      ValueError: no images.
    """
    if not copies:
        raise ValueError("a figure needs at least one image")
    columns = min(columns, len(copies))
    lines = -(-len(copies) // columns)
    with styled_figure(1.25 * columns, 1.6 * lines) as figure:
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in grid[len(copies) :]:
            axes.remove()
        for axes, (name, image) in zip(grid, copies.items()):
            _show(axes, image, "black")
            for spine in axes.spines.values():
                spine.set_linewidth(0.8)
            axes.set_title(name, size=8)
            axes.set_xlabel(notes.get(name, ""), size=8, labelpad=2)
        return save_figure(figure, stem, ("copy", "note"), [(name, notes.get(name, "")) for name in copies])
