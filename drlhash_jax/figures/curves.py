"""Figures of lines: precision, recall, mAP, rewards and robustness.

A figure has panels, usually one for each dataset or code length; a panel has series by name. A name has the same
colour, marker and line style in every panel. A panel of many series is drawn as several, a few series each, on the
same axes. Every function writes the files of `FigureFiles` and returns their paths; series that cannot be drawn raise
ValueError.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drlhash_jax.figures.style import FigureFiles, Theme, Values, save_figure, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Curves of a panel at most, horizontal lines included: more cannot be told apart.
MOST_CURVES = 5
# Attacks side by side: ten of them fill two lines.
_PANELS_OF_ATTACKS = 5
# Markers of a line at most: more become a band.
_MARKERS = 10
_REFERENCE_LINES = ("--", ":", "-.", "-")


class Series(NamedTuple):
    """A line.

    Attributes:
      x: numbers ``[M]``.
      y: numbers ``[M]``; NaN breaks the line.
      error: half the length of the error bars ``[M]``, NaN for none; None for none at all.
      band: half the height of a band around the line ``[M]``; None for none.
    """

    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    band: Sequence[float] | None = None


class Level(NamedTuple):
    """A horizontal line to compare with.

    Attributes:
      value: its height.
      error: half the height of the band around it; None for none.
    """

    value: float
    error: float | None = None


class Axis(NamedTuple):
    """The labels of a figure's axes, which are columns of its CSV as well."""

    x: str
    y: str


Panels = Mapping[str, Mapping[str, Series]]
Levels = Mapping[str, Mapping[str, Level]]
# Sets ranges and ticks of the axes of the panel of this title.
Finish = Callable[["Axes", str], None]


class _Part(NamedTuple):
    """What is drawn on one axes.

    Attributes:
      title: of the panel that it is a part of.
      heading: above the axes.
      series: name -> Series.
    """

    title: str
    heading: str
    series: Mapping[str, Series]


def _check(panels: Panels, levels: Levels) -> None:
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


def split_panel(title: str, named: Mapping[str, Series], most: int, repeated: Sequence[str]) -> list[_Part]:
    """A panel in parts of few series.

    Args:
      title: of the panel.
      named: its series.
      most: series of a part, at least 2.
      repeated: names that every part shows for comparison; one less than `most` of them at most.

    Returns:
      One part if all series fit, otherwise as many as are needed, of about equal size.
    """
    if len(named) <= most:
        return [_Part(title, title, named)]
    shared = dict.fromkeys([name for name in repeated if name in named][: most - 1])
    others = [name for name in named if name not in shared]
    num_parts = -(-len(others) // (most - len(shared)))
    parts = []
    for number, chunk in enumerate(np.array_split(np.arange(len(others)), num_parts), 1):
        chosen = shared.keys() | {others[place] for place in chunk}
        series = {name: each for name, each in named.items() if name in chosen}
        parts.append(_Part(title, f"{title}\n({number} of {num_parts})", series))
    return parts


def panel_axes(figure: "Figure", titles: Sequence[str], columns: int) -> list["Axes"]:
    """One axes for each title, row by row; long titles are broken into lines."""
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


def _draw_line(axes: "Axes", series: Series, style: dict, index: int, shift: float) -> None:
    step = -(-len(series.x) // _MARKERS)
    # Every series starts its markers elsewhere, so that lines on top of each other can be told apart.
    every = (index % step, step)
    x = np.asarray(series.x) if series.error is None else np.asarray(series.x) + shift
    if series.band is not None:
        low, high = np.subtract(series.y, series.band), np.add(series.y, series.band)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)
    if series.error is None:
        axes.plot(x, series.y, markevery=every, **style)
        return
    container = axes.errorbar(x, series.y, yerr=series.error, capsize=2.5, elinewidth=0.9, **style)
    container.lines[0].set_markevery(every)


def _shifts(named: Mapping[str, Series]) -> dict[str, float]:
    """How far each series is moved aside so that error bars of one x stand side by side."""
    every_x = np.concatenate([series.x for series in named.values()])
    step = 0.01 * (every_x.max() - every_x.min())
    return {name: step * (place - (len(named) - 1) / 2) for place, name in enumerate(named)}


def _draw_level(axes: "Axes", level: Level, index: int, theme: Theme) -> None:
    style = _REFERENCE_LINES[index % len(_REFERENCE_LINES)]
    axes.axhline(level.value, color=theme.reference, linestyle=style, linewidth=1.1, zorder=1.5)
    if level.error is not None:
        band = level.value - level.error, level.value + level.error
        axes.axhspan(*band, color=theme.reference, alpha=0.15, linewidth=0)


def style_names(names: Sequence[str], references: Sequence[str], theme: Theme) -> dict[str, dict]:
    """Name -> style of its series, by its place; references are grey, as horizontal lines are."""
    grey = lambda name: {"color": theme.reference} if name in references else {}
    return {name: series_style(index, theme) | grey(name) for index, name in enumerate(names)}


def legend_handles(styles: Mapping[str, dict], level_names: Sequence[str], theme: Theme) -> list:
    """Lines of a legend: series in their styles, then horizontal lines in theirs."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    for index, name in enumerate(level_names):
        style = _REFERENCE_LINES[index % len(_REFERENCE_LINES)]
        handles.append(Line2D([], [], label=name, color=theme.reference, linestyle=style, linewidth=1.1))
    return handles


def _values(panels: Panels, levels: Levels, axis: Axis) -> Values:
    """Every point with its error, and its band where a figure has any; a level has no x."""
    rows = []
    for title, named in panels.items():
        for name, series in named.items():
            filled = [[None] * len(series.x) if values is None else values for values in series]
            rows += [(title, name, *values) for values in zip(*filled)]
    for title, named in levels.items():
        rows += [(title, name, None, *level, None) for name, level in named.items()]
    header = ("panel", "series", *axis, "error", "band")
    has_band = any(series.band is not None for named in panels.values() for series in named.values())
    return Values(header, rows) if has_band else Values(header[:-1], [row[:-1] for row in rows])


def _share_ranges(parts: Sequence[_Part], all_axes: Sequence["Axes"]) -> None:
    """Gives the parts of a panel the same ranges, the widest of theirs."""
    for title in {part.title for part in parts}:
        same = [axes for part, axes in zip(parts, all_axes) if part.title == title]
        x, y = np.array([axes.get_xlim() for axes in same]), np.array([axes.get_ylim() for axes in same])
        for axes in same:
            axes.set(xlim=(x[:, 0].min(), x[:, 1].max()), ylim=(y[:, 0].min(), y[:, 1].max()))


class Layout(NamedTuple):
    """How panels stand.

    Attributes:
      columns: panels side by side.
      size: width and height of the figure in inches.
      legend_columns: columns of the legend below them.
    """

    columns: int
    size: tuple[float, float]
    legend_columns: int


def plan_layout(num_panels: int, columns: int, names: Sequence[str]) -> Layout:
    """A column of text for one panel, a page for several, and room for a legend of these names."""
    columns = min(columns, num_panels)
    width = 4.2 if num_panels == 1 else min(2.6 * columns, 10)
    legend_columns = _legend_columns(names, width)
    legend = 0.18 * -(-len(names) // legend_columns) + 0.1
    height = 2.9 if num_panels == 1 else 2.3 * -(-num_panels // columns)
    return Layout(columns, (width, height + legend), legend_columns)


class _Figure(NamedTuple):
    """A figure of lines.

    Attributes:
      panels: title -> name -> Series.
      axis: labels.
      finish: sets ranges and ticks.
      levels: title -> name -> Level.
      repeated: names that every part of a panel shows.
      references: names drawn in grey.
      columns: panels side by side.
      rows: of the CSV, in place of the points; empty for these.
    """

    panels: Panels
    axis: Axis
    finish: Finish
    levels: Levels = {}
    repeated: Sequence[str] = ()
    references: Sequence[str] = ()
    columns: int = 3
    rows: Sequence[tuple] = ()


def _paint(figure: "Figure", theme: Theme, wanted: _Figure, parts: Sequence[_Part], layout: Layout) -> None:
    names, level_names = names_of(wanted.panels), names_of(wanted.levels)
    styles = style_names(names, wanted.references, theme)
    all_axes = panel_axes(figure, [part.heading for part in parts], layout.columns)
    for place, (axes, part) in enumerate(zip(all_axes, parts)):
        shifts = _shifts(part.series)
        for name, series in part.series.items():
            _draw_line(axes, series, styles[name], names.index(name), shifts[name])
        for name, level in wanted.levels.get(part.title, {}).items():
            _draw_level(axes, level, level_names.index(name), theme)
        axes.set_xlabel(wanted.axis.x)
        if place % layout.columns == 0:
            axes.set_ylabel(wanted.axis.y)
        wanted.finish(axes, part.title)
    _share_ranges(parts, all_axes)
    handles = legend_handles(styles, level_names, theme)
    figure.legend(handles=handles, loc="outside lower center", ncols=layout.legend_columns)


def _plot(stem: Path, wanted: _Figure) -> FigureFiles:
    """Draws panels of lines, those of many series in parts."""
    panels, levels = wanted.panels, wanted.levels
    _check(panels, levels)
    split = [
        split_panel(title, named, max(2, MOST_CURVES - len(levels.get(title, {}))), wanted.repeated)
        for title, named in panels.items()
    ]
    parts = [part for of_panel in split for part in of_panel]
    # Parts of a panel stand beside each other.
    widest = max(map(len, split))
    columns = wanted.columns if widest == 1 else min(widest, 3)
    layout = plan_layout(len(parts), columns, [*names_of(panels), *names_of(levels)])
    values = _values(panels, levels, wanted.axis)
    values = values._replace(rows=wanted.rows or values.rows)
    return save_figure(stem, layout.size, lambda figure, theme: _paint(figure, theme, wanted, parts, layout), values)


def _bit_ticks(panels: Panels) -> Finish:
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


def plot_precision_recall(
    stem: Path, panels: Panels, repeated: Sequence[str] = (), references: Sequence[str] = ()
) -> FigureFiles:
    """Precision against recall by Hamming radius (thesis Fig. 4.1), as from `retrieval.precision_recall_curve`.

    Args:
      stem: path without ending.
      panels: title -> name -> Series of recall and precision.
      repeated: names that every part of a panel shows, where it is drawn in parts.
      references: names that the others are compared with, drawn in grey.
    """

    def finish(axes: "Axes", title: str) -> None:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    axis = Axis("recall", "precision")
    return _plot(stem, _Figure(panels, axis, finish, repeated=repeated, references=references))


def plot_precision_at_n(
    stem: Path, panels: Panels, repeated: Sequence[str] = (), references: Sequence[str] = ()
) -> FigureFiles:
    """Precision among the first n rows against n (thesis Fig. 4.3); arguments as in `plot_precision_recall`."""
    axis = Axis("rows returned", "precision")
    return _plot(stem, _Figure(panels, axis, _start_at_zero, repeated=repeated, references=references))


def plot_precision_radius2(stem: Path, panels: Panels, repeated: Sequence[str] = ()) -> FigureFiles:
    """Precision within Hamming radius 2 against the number of bits (thesis Fig. 4.2).

    Args:
      stem: path without ending.
      panels: title -> name -> Series of bits and precision.
      repeated: names that every part of a panel shows, where it is drawn in parts.
    """
    axis = Axis("bits", "precision within radius 2")
    return _plot(stem, _Figure(panels, axis, _bit_ticks(panels), repeated=repeated))


def plot_map_bits(
    stem: Path, panels: Panels, levels: Levels | None = None, repeated: Sequence[str] = ()
) -> FigureFiles:
    """mAP against the number of bits for every way to choose them, with error bars.

    Args:
      stem: path without ending.
      panels: title -> selector -> Series of bits, mean and standard deviation.
      levels: title -> name -> Level, e.g. what all bits of the pool give; None for none.
      repeated: names that every part of a panel shows, where it is drawn in parts.
    """
    return _plot(stem, _Figure(panels, Axis("bits", "mAP"), _bit_ticks(panels), levels or {}, repeated))


def plot_learning(stem: Path, panels: Panels, levels: Levels) -> FigureFiles:
    """Rewards of PPO while it learns, with what the other selectors reach as horizontal lines.

    Args:
      stem: path without ending.
      panels: title, e.g. "16 of 64 bits" -> name, e.g. "mean of the episodes" -> Series over rewards computed.
      levels: title -> name, e.g. "greedy", "random ± sd" -> Level.
    """
    return _plot(stem, _Figure(panels, Axis("rewards computed", "reward (mAP)"), _start_at_zero, levels))


_VALUES = {
    "detection_rate": "copies detected",
    "eer": "equal error rate",
    "auc": "area under ROC curve",
    "mean_distance": "mean distance (bits)",
}


class _Attacks(NamedTuple):
    """Rows of a study of robustness as panels.

    Attributes:
      panels: attack -> hash -> Series over places of strengths.
      strengths: attack -> strength -> its place.
      units: attack -> unit of its strengths.
      points: rows of the CSV.
    """

    panels: dict[str, dict[str, Series]]
    strengths: dict[str, dict[float, int]]
    units: dict[str, str]
    points: list[tuple]


def _by_attack(rows: Sequence[Mapping[str, object]], value: str) -> _Attacks:
    found = _Attacks({}, {}, {}, [])
    for row in rows:
        attack = row["attack"].replace("_", " ")
        found.units[attack] = row["unit"]
        places = found.strengths.setdefault(attack, {})
        series = found.panels.setdefault(attack, {}).setdefault(row["hasher"], Series([], []))
        series.x.append(places.setdefault(row["strength"], len(places)))
        series.y.append(row[value])
        found.points.append((f"{attack} ({row['unit']})", row["hasher"], row["strength"], row[value], None))
    return found


def plot_robustness(stem: Path, rows: Sequence[Mapping[str, object]], value: str = "detection_rate") -> FigureFiles:
    """A number of every hash against the strength of every attack, a panel for each attack.

    Strengths stand at equal distances in the order of the rows; what they mean differs from attack to attack.

    Args:
      stem: path without ending.
      rows: as `robustness.measure_robustness` gives them.
      value: "detection_rate", "eer", "auc" or "mean_distance".

    Raises:
      ValueError: no rows, or another value.
    """
    if value not in _VALUES:
        raise ValueError(f"value={value!r}: choose one of {', '.join(_VALUES)}")
    attacks = _by_attack(rows, value)
    # One range for all attacks: a detection rate from 0 to 1, other numbers as far as they go.
    heights = [0.0, 1.0] if value == "detection_rate" else [point[3] for point in attacks.points]
    margin = 0.05 * (max(heights, default=0) - min(heights, default=0)) or 0.05

    def finish(axes: "Axes", title: str) -> None:
        axes.set_xlabel(attacks.units[title])
        strengths = attacks.strengths[title]
        axes.set_xticks(list(strengths.values()), [f"{strength:g}" for strength in strengths])
        axes.margins(x=0.08)
        axes.set_ylim(min(heights) - margin, max(heights) + margin)

    axis = Axis("strength", _VALUES[value])
    return _plot(stem, _Figure(attacks.panels, axis, finish, columns=_PANELS_OF_ATTACKS, rows=attacks.points))
