"""A figure of points: what the bits earned when they were chosen, and what they are worth on the queries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drlhash_jax.figures.curves import legend_handles, names_of, panel_axes, plan_layout
from drlhash_jax.figures.style import FigureFiles, Theme, Values, save_figure, series_style

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


def _paint(figure: "Figure", theme: Theme, panels: Points, columns: int, legend_columns: int) -> None:
    names = names_of(panels)
    for place, (axes, named) in enumerate(zip(panel_axes(figure, list(panels), columns), panels.values())):
        for name, point in named.items():
            style = series_style(names.index(name), theme) | {"linestyle": "none"}
            axes.errorbar(
                point.reward, point.map, xerr=point.reward_sd, yerr=point.map_sd, capsize=2.5, elinewidth=0.9, **style
            )
        axes.margins(0.12)
        axes.set_xlabel("reward")
        if place % columns == 0:
            axes.set_ylabel("mAP of the queries")
    handles = legend_handles(names, (), theme)
    for handle in handles:
        handle.set_linestyle("none")
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns)


def plot_reward_map(stem: Path, panels: Points, columns: int = 3) -> FigureFiles:
    """Reward against test mAP, a point for each way to choose bits and a panel for each number of them.

    Args:
      stem: path without ending.
      panels: title, e.g. "16 of 64 bits" -> name, e.g. "greedy" -> Point.
      columns: panels side by side.

    Returns:
      FigureFiles.

    Raises:
      ValueError: no panels, or one without points.
    """
    if not panels or not all(panels.values()):
        raise ValueError("a figure needs at least one panel, and each panel at least one point")
    layout = plan_layout(len(panels), columns, names_of(panels))
    rows: Sequence[tuple] = [(title, name, *point) for title, named in panels.items() for name, point in named.items()]
    values = Values(("panel", "series", "reward", "mAP", "reward sd", "mAP sd"), rows)
    paint = lambda figure, theme: _paint(figure, theme, panels, layout.columns, layout.legend_columns)
    return save_figure(stem, layout.size, paint, values)
