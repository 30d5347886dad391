"""Figures of lines: what is drawn and written, and that the same data give the same bytes."""

import csv
import itertools
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from drlhash_jax.figures import (
    Level,
    Point,
    Series,
    plot_learning,
    plot_map_bits,
    plot_precision_at_n,
    plot_precision_radius2,
    plot_precision_recall,
    plot_reward_map,
    plot_robustness,
)
from drlhash_jax.figures.curves import names_of, split_panel
from drlhash_jax.figures.style import DARK, LIGHT, LINES, MARKERS, series_style

PANELS = {
    "A": {"ours": Series([16, 32], [0.5, 0.75]), "theirs": Series([16, 32], [0.25, float("nan")])},
    "B": {"theirs": Series(np.array([16]), np.array([0.125], np.float32))},
}
LINES_OF_PANELS = [
    ["A", "ours", "16", "0.5", ""],
    ["A", "ours", "32", "0.75", ""],
    ["A", "theirs", "16", "0.25", ""],
    ["A", "theirs", "32", "", ""],
    ["B", "theirs", "16", "0.125", ""],
]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def figures(monkeypatch):
    """Figures that the test drew, as matplotlib's objects."""
    from matplotlib.figure import Figure

    drawn, savefig = [], Figure.savefig

    def keep(self, *args, **kwargs):
        if self not in drawn:
            drawn.append(self)
        return savefig(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return drawn


@pytest.mark.parametrize(
    "plot, x, y",
    [
        (plot_precision_recall, "recall", "precision"),
        (plot_precision_radius2, "bits", "precision within radius 2"),
        (plot_precision_at_n, "rows returned", "precision"),
        (plot_map_bits, "bits", "mAP"),
    ],
)
def test_files(plot, x, y, tmp_path):
    paths = plot(tmp_path / "new" / "figure.v1", PANELS)
    assert [path.name for path in paths] == [f"figure.v1{end}" for end in (".pdf", ".png", "-dark.png", ".csv")]
    assert sorted(tmp_path.rglob("*.*")) == sorted([*paths])
    assert paths[0].read_bytes().startswith(b"%PDF-1.4")
    for path, paper in ((paths.png, (255, 255, 255)), (paths.dark_png, (29, 32, 36))):
        with Image.open(path) as image:
            # Two panels of 2.6 inches at 200 dots an inch.
            assert image.width == 1040 and image.height > 400
            assert image.convert("RGB").getpixel((0, 0)) == paper
    assert read_csv(paths.csv) == [["panel", "series", x, y, "error"], *LINES_OF_PANELS]


def test_same_data_same_bytes(tmp_path, monkeypatch):
    first = plot_map_bits(tmp_path / "first", PANELS)
    # Neither the day, nor the user's settings, nor the name of the file may show.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    with matplotlib.rc_context({"lines.linewidth": 9, "axes.linewidth": 9, "savefig.dpi": 50}):
        second = plot_map_bits(tmp_path / "second", PANELS)
        assert matplotlib.rcParams["lines.linewidth"] == 9
    for a, b in zip(first, second):
        assert a.read_bytes() == b.read_bytes()
    for path in first[:3]:
        assert not re.search(rb"CreationDate|Producer|matplotlib|\b20\d\d-\d\d-\d\d", path.read_bytes(), re.IGNORECASE)


def test_a_name_looks_alike_in_every_panel(tmp_path, figures):
    plot_map_bits(tmp_path / "figure", PANELS)
    figure, _ = figures
    (ours, theirs), (alone,) = ([line for line in axes.lines] for axes in figure.axes)
    look = lambda line: (line.get_color(), line.get_marker(), line.get_linestyle())
    assert look(theirs) == look(alone)
    assert all(a != b for a, b in zip(look(ours), look(theirs)))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["ours", "theirs"] == names_of(PANELS)


def test_no_two_of_the_first_series_look_alike():
    looks = [
        (style["color"], style["marker"], str(style["linestyle"]))
        for style in (series_style(n, LIGHT) for n in range(420))
    ]
    assert len(set(looks)) == 420
    # In black and white there are the markers.
    assert len({marker for _, marker, _ in looks[:12]}) == 12 == len(MARKERS)
    assert len(LINES) == 5


def test_colours_can_be_read_on_paper_and_on_dark_screens():
    def luminance(colour):
        channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return np.dot(channels, (0.2126, 0.7152, 0.0722))

    def contrast(*colours):
        low, high = sorted(map(luminance, colours))
        return (high + 0.05) / (low + 0.05)

    # Contrast by WCAG 2: yellow, which is left out, has 1.3 on white.
    assert contrast("#F0E442", "#ffffff") < 1.4
    assert min(contrast(colour, LIGHT.paper) for colour in LIGHT.series) > 2.2
    assert min(contrast(colour, DARK.paper) for colour in DARK.series) > 5
    for theme in (LIGHT, DARK):
        assert contrast(theme.ink, theme.paper) > 12 and contrast(theme.reference, theme.paper) > 4.5


def test_nothing_is_cut_off(tmp_path, figures):
    long = {f"a method with a long name {n}": Series([16, 32], [0.1 * n, 0.2]) for n in range(8)}
    plot_map_bits(tmp_path / "one", {"A": long})
    titles = [f"data set {letter}, protocol random-50-200-all, mAP@all" for letter in "ABC"]
    plot_map_bits(tmp_path / "three", dict.fromkeys(titles, long))
    plot_learning(tmp_path / "dollars", {r"$\frac$ and $": long}, {r"$\frac$ and $": {"$x_": Level(0.5)}})
    for figure in figures:
        # Extents are those of the last drawing, which was made at another resolution.
        figure.draw_without_rendering()
        boxes = [axes.title.get_window_extent() for axes in figure.axes]
        assert not any(left.overlaps(right) for left, right in itertools.combinations(boxes, 2))
        inside = figure.bbox
        for artist in (*figure.axes, *figure.legends):
            box = artist.get_tightbbox()
            assert box.x0 >= inside.x0 and box.x1 <= inside.x1 and box.y0 >= inside.y0 and box.y1 <= inside.y1
        legend = figure.legends[0].get_window_extent()
        assert all(legend.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)


def test_error_bars_and_levels(tmp_path, figures):
    panels = {
        "A": {"ppo": Series([16, 48], [0.5, 0.75], [0.125, 0.0625]), "greedy": Series([16, 48], [0.5, 0.75], [0, 0])}
    }
    levels = {"A": {"all bits": Level(0.625, 0.03125), "chance": Level(0.1)}}
    paths = plot_map_bits(tmp_path / "figure", panels, levels)
    assert read_csv(paths.csv)[1:] == [
        ["A", "ppo", "16", "0.5", "0.125"],
        ["A", "ppo", "48", "0.75", "0.0625"],
        ["A", "greedy", "16", "0.5", "0"],
        ["A", "greedy", "48", "0.75", "0"],
        ["A", "all bits", "", "0.625", "0.03125"],
        ["A", "chance", "", "0.1", ""],
    ]
    assert len(figures[0].axes) == 1
    ppo, greedy = (container.lines[0] for container in figures[0].axes[0].containers)
    # Side by side: .01 of 32 bits apart, half to either side.
    np.testing.assert_allclose(ppo.get_xdata(), [16 - 0.16, 48 - 0.16])
    np.testing.assert_allclose(greedy.get_xdata(), [16 + 0.16, 48 + 0.16])
    assert figures[0].axes[0].get_xticks().tolist() == [16, 48]


def test_learning_curves(tmp_path):
    panels = {"2 of 4 bits": {"mean": Series(range(1, 101), np.linspace(0.5, 0.6, 100))}}
    paths = plot_learning(
        tmp_path / "figure", panels, {"2 of 4 bits": {"greedy": Level(0.61), "random": Level(0.5, 0.02)}}
    )
    rows = read_csv(paths.csv)
    assert rows[0] == ["panel", "series", "rewards computed", "reward (mAP)", "error"]
    assert rows[1] == ["2 of 4 bits", "mean", "1", "0.5", ""] and len(rows) == 103
    assert rows[-1] == ["2 of 4 bits", "random", "", "0.5", "0.02"]


ROWS = [
    {
        "attack": attack,
        "strength": strength,
        "unit": "quality",
        "hasher": hasher,
        "detection_rate": rate,
        "eer": 1 - rate,
    }
    for attack, strength, hasher, rate in [
        ("jpeg", 90, "phash", 1.0),
        ("jpeg", 90, "model", 0.75),
        ("jpeg", 10, "phash", 0.5),
        ("jpeg", 10, "model", 0.25),
        ("gaussian_noise", 5, "model", 0.125),
    ]
]


def test_robustness_curves(tmp_path, figures):
    paths = plot_robustness(tmp_path / "figure", ROWS)
    assert read_csv(paths.csv) == [
        ["panel", "series", "strength", "copies detected", "error"],
        ["jpeg (quality)", "phash", "90", "1", ""],
        ["jpeg (quality)", "model", "90", "0.75", ""],
        ["jpeg (quality)", "phash", "10", "0.5", ""],
        ["jpeg (quality)", "model", "10", "0.25", ""],
        ["gaussian noise (quality)", "model", "5", "0.125", ""],
    ]
    jpeg, noise = figures[0].axes
    # Strengths in the order of the rows, weakest first, at equal distances.
    assert [tick.get_text() for tick in jpeg.get_xticklabels()] == ["90", "10"]
    assert jpeg.lines[0].get_xdata().tolist() == [0, 1] and jpeg.lines[0].get_ydata().tolist() == [1, 0.5]
    assert noise.lines[0].get_color() == jpeg.lines[1].get_color() == LIGHT.series[1]
    assert read_csv(plot_robustness(tmp_path / "eer", ROWS, "eer").csv)[2][3] == "0.25"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda stem: plot_map_bits(stem, {}), "at least one panel"),
        (lambda stem: plot_map_bits(stem, {"A": {}}), "each panel at least one series"),
        (lambda stem: plot_map_bits(stem, {"A": {"b": Series([1, 2], [3])}}), r"'b' of panel 'A'.*lengths \[1, 2\]"),
        (lambda stem: plot_map_bits(stem, {"A": {"b": Series([], [])}}), r"'b' of panel 'A'.*lengths \[0\]"),
        (lambda stem: plot_map_bits(stem, PANELS, {"C": {}}), r"levels of \['C'\]: there are no such panels"),
        (lambda stem: plot_robustness(stem, []), "at least one panel"),
        (lambda stem: plot_robustness(stem, ROWS, "speed"), "value='speed': choose one of detection_rate"),
    ],
)
def test_what_cannot_be_drawn(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "figure")
    assert not list(tmp_path.iterdir())


def test_many_curves_are_drawn_in_parts(tmp_path, figures):
    named = {letter: Series([16, 32], [0.1 * n, 0.2]) for n, letter in enumerate("abcdefg")}
    panels = {"one": named, "other": {"a": named["a"]}}
    paths = plot_map_bits(tmp_path / "figure", panels, {"one": {"all": Level(0.9)}}, repeated=("a",))
    drawn = [axes.get_title() for axes in figures[0].axes]
    assert drawn == ["one\n(1 of 2)", "one\n(2 of 2)", "other"]
    first, second, other = figures[0].axes
    # The horizontal line counts: four curves beside it, a in both.
    assert [len(axes.lines) for axes in (first, second, other)] == [5, 5, 1]
    colours = [[line.get_color() for line in axes.lines[:-1]] for axes in (first, second)]
    assert colours[0] + colours[1][1:] == list(LIGHT.series) and colours[1][0] == colours[0][0]
    assert first.get_ylim() == second.get_ylim() != other.get_ylim() and first.get_xlim() == second.get_xlim()
    # The numbers are those of the panel, each once.
    rows = [row[:2] for row in read_csv(paths.csv)[1:]]
    assert rows == [["one", n] for n in "aabbccddeeffgg"] + [["other", "a"]] * 2 + [["one", "all"]]


def test_references_are_grey(tmp_path, figures):
    plot_precision_recall(tmp_path / "figure", PANELS, references=["theirs"])
    ours, theirs = figures[0].axes[0].lines
    assert (ours.get_color(), theirs.get_color()) == (LIGHT.series[0], LIGHT.reference)
    assert figures[0].legends[0].get_lines()[1].get_color() == LIGHT.reference
    # Dark screens have other colours of the same names.
    assert [line.get_color() for line in figures[1].axes[0].lines] == [DARK.series[0], DARK.reference]


def test_parts_are_of_about_equal_size():
    named = dict.fromkeys("abcdefghij", Series([1], [1]))
    parts = split_panel("t", named, 5, ("a", "b"))
    assert ["".join(part.series) for part in parts] == ["abcde", "abfgh", "abij"]
    (whole,) = split_panel("t", dict.fromkeys("abcde", Series([1], [1])), 5, ("a",))
    assert whole.heading == "t" and len(whole.series) == 5


def test_bands(tmp_path, figures):
    paths = plot_map_bits(tmp_path / "figure", {"A": {"random": Series([16, 32], [0.5, 0.75], None, [0.25, 0.125])}})
    assert read_csv(paths.csv) == [
        ["panel", "series", "bits", "mAP", "error", "band"],
        ["A", "random", "16", "0.5", "", "0.25"],
        ["A", "random", "32", "0.75", "", "0.125"],
    ]
    (band,) = figures[0].axes[0].collections
    assert band.get_datalim(figures[0].axes[0].transData).ymin == 0.25


def test_reward_against_map(tmp_path, figures):
    panels = {
        "2 of 4 bits": {"greedy": Point(0.75, 0.5), "random": Point(0.5, 0.25, 0.125, 0.0625)},
        "3 of 4 bits": {"random": Point(0.5, 0.5)},
    }
    paths = plot_reward_map(tmp_path / "figure", panels)
    assert read_csv(paths.csv) == [
        ["panel", "series", "reward", "mAP", "reward sd", "mAP sd"],
        ["2 of 4 bits", "greedy", "0.75", "0.5", "", ""],
        ["2 of 4 bits", "random", "0.5", "0.25", "0.125", "0.0625"],
        ["3 of 4 bits", "random", "0.5", "0.5", "", ""],
    ]
    both, alone = figures[0].axes
    assert both.lines[0].get_color() == LIGHT.series[0] and both.lines[0].get_linestyle() == "None"
    assert alone.lines[0].get_xdata() == [0.5] and alone.lines[0].get_marker() == MARKERS[1]
    # Styles are those of other figures, where the names have these places.
    plot_reward_map(tmp_path / "figure", panels, ["ppo", "greedy", "first", "random"], ["greedy"])
    greedy, random = (container.lines[0] for container in figures[2].axes[0].containers)
    assert greedy.get_color() == LIGHT.reference and greedy.get_marker() == MARKERS[1]
    assert random.get_color() == LIGHT.series[3]
    assert [text.get_text() for text in figures[2].legends[0].get_texts()] == ["greedy", "random"]
    for bad in ({}, {"A": {}}):
        with pytest.raises(ValueError, match="at least one panel, and each panel at least one point"):
            plot_reward_map(tmp_path / "bad", bad)
