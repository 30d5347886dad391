"""Figures of lines: precision, recall, mAP, rewards and robustness.

A figure has panels, usually one a dataset; a panel has series by name. A name has the same colour, marker and line
style in every panel. Every function writes ``stem.pdf``, ``stem.png`` and ``stem.csv`` and returns their paths; series
that cannot be drawn raise ValueError.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drlhash_jax.report.style import REFERENCE, save_figure, series_style, styled_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Attacks side by side: ten of them fill two lines.
_PANELS_OF_ATTACKS = 5
# Markers on a line, at most: more become a band.
_MARKERS_A_LINE = 10
_REFERENCE_LINES = ("--", ":", "-.", "-")


class Series(NamedTuple):
    """A line.

    Attributes:
      x: numbers ``[M]``.
      y: numbers ``[M]``; NaN breaks the line.
      error: half the length of the error bars ``[M]``; None for none.
    """

    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None


class Level(NamedTuple):
    """A horizontal line to compare with.

    Attributes:
      value: its height.
      error: half the height of the band around it; None for none.
    """

    value: float
    error: float | None = None


Panels = Mapping[str, Mapping[str, Series]]
Paths = tuple[Path, Path, Path]


def _check(panels: Panels, levels: Mapping[str, Mapping[str, Level]]) -> None:
    if not panels or not all(panels.values()):
        raise ValueError("a figure needs at least one panel, and each panel at least one series")
    for title, named in panels.items():
        for name, series in named.items():
            lengths = {len(values) for values in series if values is not None}
            if len(lengths) != 1 or lengths == {0}:
                raise ValueError(f"series {name!r} of panel {title!r}: its values have lengths {sorted(lengths)}")
    if not set(levels) <= set(panels):
        raise ValueError(f"levels of {sorted(set(levels) - set(panels))}: there are no such panels")


def names_of(panels: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Names of all series, in order of first appearance."""
    return list(dict.fromkeys(name for named in panels.values() for name in named))


def panel_axes(figure: "Figure", titles: Sequence[str], columns: int) -> list["Axes"]:
    """One axes a title, row by row; long titles are broken into lines."""
    rows = -(-len(titles) // columns)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[len(titles) :]:
        unused.remove()
    # A letter of a title is about .08 inch wide.
    letters = int(figure.get_figwidth() / columns / 0.08)
    for each, title in zip(axes, titles):
        each.set_title("\n".join(textwrap.fill(line, letters) for line in title.split("\n")))
    return list(axes[: len(titles)])


def _legend_columns(names: Sequence[str], width: float) -> int:
    """The most columns, up to six, in which a legend of these names fits into so many inches."""

    def needed(columns: int) -> float:
        # A column is as wide as its longest name, at .068 inch a letter, and .67 inch of line and space.
        return sum(0.67 + 0.068 * max(map(len, column)) for column in np.array_split(names, columns))

    return max(columns for columns in range(1, min(6, len(names)) + 1) if columns == 1 or needed(columns) <= width)


def _layout(panels: Panels, level_names: Sequence[str], columns: int) -> tuple[float, float, int]:
    """Width and height in inches, and the columns of the legend: a column of text for one panel, a page for several."""
    names = [*names_of(panels), *level_names]
    width = 4.2 if len(panels) == 1 else min(2.6 * columns, 10)
    legend_columns = _legend_columns(names, width)
    legend = 0.18 * -(-len(names) // legend_columns) + 0.1
    return width, (2.9 if len(panels) == 1 else 2.3 * -(-len(panels) // columns)) + legend, legend_columns


def _draw_line(axes: "Axes", series: Series, style: dict, index: int, shift: float) -> None:
    step = -(-len(series.x) // _MARKERS_A_LINE)
    # Every series starts its markers elsewhere, so that lines on top of each other can be told apart.
    every = (index % step, step)
    if series.error is None:
        axes.plot(series.x, series.y, markevery=every, **style)
        return
    container = axes.errorbar(
        np.asarray(series.x) + shift, series.y, yerr=series.error, capsize=2.5, elinewidth=0.9, **style
    )
    container.lines[0].set_markevery(every)


def _shifts(named: Mapping[str, Series]) -> dict[str, float]:
    """How far each series is moved aside so that error bars of one x stand side by side."""
    every_x = np.concatenate([series.x for series in named.values()])
    step = 0.01 * (every_x.max() - every_x.min())
    return {name: step * (place - (len(named) - 1) / 2) for place, name in enumerate(named)}


def _draw_level(axes: "Axes", level: Level, index: int) -> None:
    style = _REFERENCE_LINES[index % len(_REFERENCE_LINES)]
    axes.axhline(level.value, color=REFERENCE, linestyle=style, linewidth=1.1, zorder=1.5)
    if level.error is not None:
        axes.axhspan(level.value - level.error, level.value + level.error, color=REFERENCE, alpha=0.15, linewidth=0)


def _legend(figure: "Figure", names: Sequence[str], level_names: Sequence[str], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name, **series_style(index)) for index, name in enumerate(names)]
    for index, name in enumerate(level_names):
        style = _REFERENCE_LINES[index % len(_REFERENCE_LINES)]
        handles.append(Line2D([], [], label=name, color=REFERENCE, linestyle=style, linewidth=1.1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _csv_rows(panels: Panels, levels: Mapping[str, Mapping[str, Level]]) -> list[tuple]:
    """Panel, series, x, y and error of every point; a level has no x."""
    rows = []
    for title, named in panels.items():
        for name, (x, y, error) in named.items():
            rows += [(title, name, *values) for values in zip(x, y, [None] * len(x) if error is None else error)]
    for title, named in levels.items():
        rows += [(title, name, None, *level) for name, level in named.items()]
    return rows


def _plot(
    stem: Path,
    panels: Panels,
    labels: tuple[str, str],
    finish: Callable[["Axes", str], None],
    levels: Mapping[str, Mapping[str, Level]] | None = None,
    columns: int = 3,
    rows: Sequence[tuple] | None = None,
) -> Paths:
    """Draws panels of lines; finish sets ranges and ticks of the axes of a panel. Rows replace those of the CSV."""
    levels = levels or {}
    _check(panels, levels)
    names, level_names = names_of(panels), names_of(levels)
    columns = min(columns, len(panels))
    width, height, legend_columns = _layout(panels, level_names, columns)
    with styled_figure(width, height) as figure:
        for place, (axes, (title, named)) in enumerate(zip(panel_axes(figure, list(panels), columns), panels.items())):
            shifts = _shifts(named)
            for name, series in named.items():
                index = names.index(name)
                _draw_line(axes, series, series_style(index), index, shifts[name])
            for name, level in levels.get(title, {}).items():
                _draw_level(axes, level, level_names.index(name))
            axes.set_xlabel(labels[0])
            if place % columns == 0:
                axes.set_ylabel(labels[1])
            finish(axes, title)
        _legend(figure, names, level_names, legend_columns)
        header = ("panel", "series", *labels, "error")
        return save_figure(figure, stem, header, rows or _csv_rows(panels, levels))


def _bit_ticks(panels: Panels) -> Callable[["Axes", str], None]:
    """Ticks at the numbers of bits that occur in a panel."""

    def finish(axes: "Axes", title: str) -> None:
        axes.set_xticks(sorted({float(x) for series in panels[title].values() for x in series.x}))
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter("{x:.0f}")

    return finish


def _start_at_zero(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def plot_precision_recall(stem: Path, panels: Panels) -> Paths:
    """Precision against recall by Hamming radius (thesis Fig. 4.1), as from `retrieval.precision_recall_curve`."""

    def finish(axes: "Axes", title: str) -> None:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    return _plot(stem, panels, ("recall", "precision"), finish)


def plot_precision_radius2(stem: Path, panels: Panels) -> Paths:
    """Precision within Hamming radius 2 against the number of bits (thesis Fig. 4.2)."""
    return _plot(stem, panels, ("bits", "precision within radius 2"), _bit_ticks(panels))


def plot_precision_at_n(stem: Path, panels: Panels) -> Paths:
    """Precision among the first n rows against n (thesis Fig. 4.3)."""
    return _plot(stem, panels, ("rows returned", "precision"), _start_at_zero)


def plot_map_bits(stem: Path, panels: Panels, levels: Mapping[str, Mapping[str, Level]] | None = None) -> Paths:
    """mAP against the number of bits for every way to choose them, with error bars.

    Args:
      stem: path without ending.
      panels: title -> selector -> Series of bits, mean and standard deviation.
      levels: title -> name -> Level, e.g. what all bits of the pool give; None for none.

    Returns:
      Paths of the PDF, the PNG and the CSV.
    """
    return _plot(stem, panels, ("bits", "mAP"), _bit_ticks(panels), levels)


def plot_learning(
    stem: Path,
    panels: Panels,
    levels: Mapping[str, Mapping[str, Level]],
    xlabel: str = "rewards computed",
) -> Paths:
    """Rewards of PPO while it learns, with what the other selectors reach as horizontal lines.

    Args:
      stem: path without ending.
      panels: title, e.g. "16 of 64 bits" -> name, e.g. "mean of the episodes" -> Series over xlabel.
      levels: title -> name, e.g. "greedy", "random ± sd" -> Level.
      xlabel: what x counts.

    Returns:
      Paths of the PDF, the PNG and the CSV.
    """
    return _plot(stem, panels, (xlabel, "reward (mAP)"), _start_at_zero, levels)


_VALUES = {
    "detection_rate": "copies detected",
    "eer": "equal error rate",
    "auc": "area under ROC curve",
    "mean_distance": "mean distance (bits)",
}


def plot_robustness(stem: Path, rows: Sequence[Mapping[str, object]], value: str = "detection_rate") -> Paths:
    """A number of every hash against the strength of every attack, one panel an attack.

    Strengths stand at equal distances in the order of the rows; what they mean differs from attack to attack.

    Args:
      stem: path without ending.
      rows: as `robustness.measure_robustness` gives them.
      value: "detection_rate", "eer", "auc" or "mean_distance".

    Returns:
      Paths of the PDF, the PNG and the CSV.

    Raises:
      ValueError: no rows, or another value.
    """
    if value not in _VALUES:
        raise ValueError(f"value={value!r}: choose one of {', '.join(_VALUES)}")
    places: dict[str, dict[float, int]] = {}
    units: dict[str, str] = {}
    panels: dict[str, dict[str, Series]] = {}
    points = []
    for row in rows:
        attack = row["attack"].replace("_", " ")
        units[attack] = row["unit"]
        of_attack = places.setdefault(attack, {})
        series = panels.setdefault(attack, {}).setdefault(row["hasher"], Series([], []))
        series.x.append(of_attack.setdefault(row["strength"], len(of_attack)))
        series.y.append(row[value])
        points.append((f"{attack} ({units[attack]})", row["hasher"], row["strength"], row[value], None))
    # One range for all attacks: a detection rate from 0 to 1, other numbers as far as they go.
    heights = [0.0, 1.0] if value == "detection_rate" else [point[3] for point in points]
    margin = 0.05 * (max(heights, default=0) - min(heights, default=0)) or 0.05

    def finish(axes: "Axes", title: str) -> None:
        axes.set_xlabel(units[title])
        axes.set_xticks(list(places[title].values()), [f"{strength:g}" for strength in places[title]])
        axes.margins(x=0.08)
        axes.set_ylim(min(heights) - margin, max(heights) + margin)

    return _plot(stem, panels, ("strength", _VALUES[value]), finish, columns=_PANELS_OF_ATTACKS, rows=points)
