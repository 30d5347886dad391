"""A figure of points: what the bits earned when they were chosen, and what they are worth on the queries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drlhash_jax.figures.curves import Layout, legend_handles, names_of, panel_axes, plan_layout, style_names
from drlhash_jax.figures.style import FigureFiles, Theme, Values, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """A way to choose bits.

    Attributes:
      reward: of the chosen bits, on training rows.
      map: of the same bits, on the queries.
      reward_sd: standard deviation of the reward; None for none.
      map_sd: standard deviation of mAP; None for none.
    """

    reward: float
    map: float
    reward_sd: float | None = None
    map_sd: float | None = None


Points = Mapping[str, Mapping[str, Point]]


class _Figure(NamedTuple):
    """What is drawn: panels of points, names in the order of their styles, those in grey, and how panels stand."""

    panels: Points
    names: Sequence[str]
    references: Sequence[str]
    layout: Layout


def _paint(figure: "Figure", theme: Theme, wanted: _Figure) -> None:
    panels, layout = wanted.panels, wanted.layout
    styles = style_names(wanted.names, wanted.references, theme)
    styles = {name: style | {"linestyle": "none"} for name, style in styles.items()}
    for place, (axes, named) in enumerate(zip(panel_axes(figure, list(panels), layout.columns), panels.values())):
        for name, point in named.items():
            errors = {"xerr": point.reward_sd, "yerr": point.map_sd, "capsize": 2.5, "elinewidth": 0.9}
            axes.errorbar(point.reward, point.map, **errors, **styles[name])
        axes.margins(0.12)
        axes.set_xlabel("reward")
        if place % layout.columns == 0:
            axes.set_ylabel("mAP of the queries")
    drawn = {name: styles[name] for name in wanted.names if any(name in named for named in panels.values())}
    handles = legend_handles(drawn, (), theme)
    figure.legend(handles=handles, loc="outside lower center", ncols=layout.legend_columns)


def plot_reward_map(
    stem: Path, panels: Points, names: Sequence[str] = (), references: Sequence[str] = ()
) -> FigureFiles:
    """Reward against test mAP, a point for each way to choose bits and a panel for each number of them.

    Args:
      stem: path without ending.
      panels: title, e.g. "16 of 64 bits" -> name, e.g. "greedy" -> Point.
      names: in the order of their styles, so that they look as in other figures; others come after them.
      references: names that the others are compared with, drawn in grey.

    Returns:
      FigureFiles.

    Raises:
      ValueError: no panels, or one without points.
    """
    if not panels or not all(panels.values()):
        raise ValueError("a figure needs at least one panel, and each panel at least one point")
    layout = plan_layout(len(panels), 3, names_of(panels))
    rows = [(title, name, *point) for title, named in panels.items() for name, point in named.items()]
    values = Values(("panel", "series", "reward", "mAP", "reward sd", "mAP sd"), rows)
    wanted = _Figure(panels, list(dict.fromkeys([*names, *names_of(panels)])), references, layout)
    return save_figure(stem, layout.size, lambda figure, theme: _paint(figure, theme, wanted), values)
