"""Figures of codes: how bits repeat one another, and how codes lie in the plane."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drlhash_jax.codes import bit_correlation
from drlhash_jax.figures.curves import panel_axes
from drlhash_jax.figures.style import FigureFiles, Theme, Values, save_figure, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _check_codes(codes: np.ndarray) -> None:
    if codes.ndim != 2 or not np.all((codes == 0) | (codes == 1)):
        raise ValueError(f"codes must be 0 and 1 in an array [N, K], not {codes.dtype} {list(codes.shape)}")


def mean_off_diagonal(correlation: np.ndarray) -> float:
    """Mean absolute correlation of different bits; NaN if no two bits vary."""
    values = np.abs(correlation[~np.eye(len(correlation), dtype=bool)])
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _frame(axes: "Axes", theme: Theme) -> None:
    """A frame all around, and no grid: positions mean nothing or are marked otherwise."""
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=theme.reference)


def _paint_correlation(figure: "Figure", theme: Theme, maps: Mapping[str, np.ndarray], columns: int) -> None:
    from matplotlib.ticker import MaxNLocator

    titles = [f"{title}\nmean {mean_off_diagonal(each):.3f}" for title, each in maps.items()]
    all_axes = panel_axes(figure, titles, columns)
    for place, (axes, correlation) in enumerate(zip(all_axes, maps.values())):
        _frame(axes, theme)
        axes.patch.set(hatch="////", facecolor=theme.paper, edgecolor=theme.reference)
        # Lightness of this colour map rises steadily, also in grey.
        image = axes.imshow(np.abs(correlation), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("bit")
        if place % columns == 0:
            axes.set_ylabel("bit")
    figure.colorbar(image, ax=all_axes, label="|correlation|", shrink=0.8)


def plot_bit_correlation(stem: Path, panels: Mapping[str, np.ndarray]) -> FigureFiles:
    """Absolute correlation of bits as a map, dark for none; bits that never change are hatched.

    A bit and its negation repeat each other as two equal bits do, so the sign is not drawn. The CSV has it.

    Args:
      stem: path without ending.
      panels: title -> codes {0, 1} ``[N, K]``.

    Returns:
      FigureFiles.

    Raises:
      ValueError: no panels, or not codes.
    """
    if not panels:
        raise ValueError("a figure needs at least one panel")
    for codes in panels.values():
        _check_codes(np.asarray(codes))
    maps = {title: bit_correlation(np.asarray(codes)) for title, codes in panels.items()}
    # Four stand in a square.
    columns = 2 if len(maps) == 4 else min(3, len(maps))
    rows = [(title, i, j, each[i, j]) for title, each in maps.items() for i in range(len(each)) for j in range(i)]
    size = 2.6 * columns + 0.8, 2.9 * -(-len(maps) // columns)
    paint = lambda figure, theme: _paint_correlation(figure, theme, maps, columns)
    return save_figure(stem, size, paint, Values(("panel", "bit", "other bit", "correlation"), rows))


def embed_codes(codes: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of codes (van der Maaten and Hinton, 2008), with a perplexity of 30 or a third of the other rows.

    Its neighbourhoods are those of the Hamming distance, which for {0, 1} is the squared Euclidean one.

    Args:
      codes: {0, 1} array ``[N, K]``, a few thousand rows at most, at least 4.
      seed: of the optimisation.

    Returns:
      float32 ``[N, 2]``.

    Raises:
      ValueError: not codes, or too few.
    """
    _check_codes(codes)
    if len(codes) < 4:
        raise ValueError(f"{len(codes)} codes: t-SNE needs at least 4")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(codes) - 1) / 3)
    return TSNE(perplexity=perplexity, random_state=seed).fit_transform(codes.astype(np.float32))


def plot_tsne(stem: Path, codes: np.ndarray, labels: np.ndarray, classes: Sequence[str], seed: int = 0) -> FigureFiles:
    """Codes in the plane by t-SNE, a colour and a marker for each class.

    Args:
      stem: path without ending.
      codes: {0, 1} array ``[N, K]``.
      labels: integer ``[N]``, places in classes.
      classes: names.
      seed: of the optimisation.

    Returns:
      FigureFiles.

    Raises:
      ValueError: as in `embed_codes`, or labels that do not fit.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(codes),) or np.any(labels < 0) or np.any(labels >= len(classes)):
        raise ValueError(f"labels must be [{len(codes)}] places in {len(classes)} classes, not {list(labels.shape)}")
    points = embed_codes(np.asarray(codes), seed)

    def paint(figure: "Figure", theme: Theme) -> None:
        axes = figure.subplots()
        for place, name in enumerate(classes):
            x, y = points[labels == place].T
            style = series_style(place, theme)
            look = {"color": style["color"], "marker": style["marker"], "edgecolors": theme.paper}
            axes.scatter(x, y, s=style["markersize"] ** 2, linewidths=0.4, label=name, **look)
        _frame(axes, theme)
        axes.set(xticks=[], yticks=[])
        figure.legend(loc="outside right center", markerscale=1.4, handlelength=1)

    rows = [(classes[label], *point) for label, point in zip(labels.tolist(), points)]
    return save_figure(stem, (5.2, 4.2), paint, Values(("class", "x", "y"), rows))
