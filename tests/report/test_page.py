"""The whole report of runs with hostile names: what it holds, what it says of what is missing, and what it refuses."""

import base64
import csv
import io
import json
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import CLASSES, HOSTILE, make_run
from PIL import Image

from drlhash_jax import robustness
from drlhash_jax.errors import UserError
from drlhash_jax.figures import Series
from drlhash_jax.report import gather, page, write_report
from drlhash_jax.report.gather import measure_health
from drlhash_jax.report.page import read_readings, summary_cards
from drlhash_jax.report.panels import curve_panels, measure_curves
from drlhash_jax.report.pictures import draw_robustness
from drlhash_jax.report.records import read_runs
from drlhash_jax.report.table_files import Text
from drlhash_jax.report.tables import Cell, Group, Method, Table

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class Parsed(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def html(report_folder):
    return (report_folder[0] / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(html):
    return Parsed(html)


def test_everything_is_there(report_folder, parsed, two_runs):
    out, notes = report_folder
    names = {path.name for path in out.iterdir()}
    assert names == {"report.html", "tables.md", "tables.tex", "tables.csv", "code_health.csv", "figures"}
    assert notes == []
    drawn = {"precision_recall", "precision_at_n", "retrievals", "learning", "correlation", "tsne", "reward_map"}
    stems = {path.stem for path in (out / "figures").glob("*.csv")}
    assert {stem.split("-")[0] for stem in stems} == drawn | {"map_bits", "precision_radius2"}
    for stem in stems:
        assert all((out / "figures" / f"{stem}.{ending}").stat().st_size for ending in ("pdf", "png", "csv"))
        assert (out / "figures" / f"{stem}-dark.png").stat().st_size
    assert parsed.tags.count("img") == len(stems)
    text = "".join(parsed.text)
    facts = json.loads((sorted(two_runs.iterdir())[1] / "run.json").read_text())
    for words in (
        "n = 2 seeds",
        "Thesis Fig. 4.4",
        "c0ffee",
        "session 2",
        facts["split"]["digest"],
        "3.8",
        "an empty ball counting 0",
        "HashNet",
    ):
        assert words in text
    assert all(row["thesis"] in text and row["why"] in text for row in read_readings())
    # Nothing of the work in between is left.
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_names_are_text(html, parsed):
    assert not {"script", "b", "iframe", "link"} & set(parsed.tags)
    assert parsed.tags.count("style") == 1
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)
    # Braces included: a name is no template either.
    assert HOSTILE in "".join(parsed.text) and "<script" not in html


def test_nothing_is_fetched(parsed):
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "srcset", "action", "data"):
            inside = ("data:image/png;base64,", "data:image/jpeg;base64,") if tag in ("img", "source") else "#"
            assert value.startswith(inside), (tag, name, value[:80])
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in parsed.attributes


def test_links_lead_somewhere(parsed):
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value for tag, name, value in parsed.attributes if (tag, name) == ("a", "href")]
    assert len(links) > 10 and {link.removeprefix("#") for link in links} <= set(ids)


def test_images_are_whole(parsed):
    sources = [value for _, name, value in parsed.attributes if name in ("src", "srcset")]
    # Every figure on paper and in the dark, and the size of both is the same.
    assert len(sources) == 18 and len(set(sources)) == 18
    for source in sources:
        image = Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))
        image.load()
        assert image.width <= 1800
    assert all(value for tag, name, value in parsed.attributes if (tag, name) == ("img", "alt"))


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_learning_counts_rewards(report_folder):
    (path,) = (report_folder[0] / "figures").glob("learning-*.csv")
    rows = [row for row in read_csv(path) if row["panel"] == "3 of 8 bits"]
    mean = [(row["rewards computed"], row["reward (mAP)"]) for row in rows if row["series"] == "mean of the episodes"]
    # 50 rewards in ten updates.
    assert mean == [(f"{5 * step + 5}", f"{step / 100:.9g}") for step in range(10)]
    levels = {row["series"]: row for row in rows if not row["rewards computed"]}
    assert set(levels) == {"greedy", "random ± sd"} and levels["random ± sd"]["error"]


def test_curves_are_those_of_the_rows(report_folder, two_runs):
    """At the largest radius every row is found: precision is the share of relevant rows, recall is 1."""
    (path,) = (report_folder[0] / "figures").glob("precision_recall-*.csv")
    rows = read_csv(path)
    assert {row["panel"] for row in rows} == {"3 bits", "5 bits"}
    names = {row["series"] for row in rows if row["panel"] == "3 bits"}
    assert names == {"trained at this length", "PPO", "greedy", "random", "all bits of the pool"}
    order = [row["series"] for row in rows if row["panel"] == "3 bits"]
    assert list(dict.fromkeys(order))[:3] == ["PPO", "greedy", "trained at this length"]
    ppo = [row for row in rows if (row["panel"], row["series"]) == ("5 bits", "PPO")]
    # Queries are rows 0 to 7, the database rows 8 to 47: 13, 13 and 14 of classes 0, 1 and 2.
    relevant = np.bincount(np.arange(8, 48) % 3)[np.arange(8) % 3]
    assert len(ppo) == 6 and float(ppo[-1]["recall"]) == pytest.approx(1)
    assert float(ppo[-1]["precision"]) == pytest.approx(relevant.mean() / 40)
    # Radius 2 is what the rows say, the mean over the two runs.
    stored = [json.loads((run / "metrics.json").read_text())["results"] for run in sorted(two_runs.iterdir())]
    own = [row["precision_radius2"] for rows in stored for row in rows if (row["selector"], row["bits"]) == ("ppo", 5)]
    assert float(ppo[2]["precision"]) == pytest.approx(np.mean(own), abs=1e-5)


def test_health_before_and_after(report_folder):
    rows = read_csv(report_folder[0] / "code_health.csv")
    assert [(row["codes"], row["bits"], row["runs"]) for row in rows[:3]] == [
        ("all 8 bits", "8", "2"),
        ("3 bits, PPO", "3", "2"),
        ("3 bits, greedy", "3", "2"),
    ]
    assert all(0 <= float(row["of one label"]) <= 1 for row in rows)


def test_readme_and_page_name_the_same_differences():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## What differs from the thesis, and why\n\n")[1].split("\n\n")[0].splitlines()
    cell = lambda text: text.replace("|", "\\|")
    assert section[2:] == ["| " + " | ".join(map(cell, row.values())) + " |" for row in read_readings()]


def test_reward_against_map(report_folder, two_runs):
    (path,) = (report_folder[0] / "figures").glob("reward_map-*.csv")
    rows = {(row["panel"], row["series"]): row for row in read_csv(path)}
    names = ("PPO", "greedy", "random", "all bits of the pool")
    assert set(rows) == {(f"{bits} of 8 bits", name) for bits in (3, 5) for name in names}
    runs = sorted(two_runs.iterdir())
    stored = [json.loads((run / "metrics.json").read_text())["results"] for run in runs]
    maps = [row["map"] for rows in stored for row in rows if (row["selector"], row["bits"]) == ("random", 5)]
    chosen = [json.loads((run / "selection.json").read_text())["selections"] for run in runs]
    rewards = [
        np.mean(row["rewards"]) for rows in chosen for row in rows if (row["selector"], row["bits"]) == ("random", 5)
    ]
    found = rows["5 of 8 bits", "random"]
    expected = [np.mean(rewards), np.mean(maps), np.std(rewards, ddof=1), np.std(maps, ddof=1)]
    assert [float(found[name]) for name in ("reward", "mAP", "reward sd", "mAP sd")] == pytest.approx(expected)
    assert float(rows["3 of 8 bits", "all bits of the pool"]["reward"]) == 0.5


def test_spread_of_random_is_shown(report_folder):
    rows = [row for row in read_csv(report_folder[0] / "figures/map_bits.csv") if row["series"] == "random"]
    assert len(rows) == 2 and all(float(row["band"]) > 0 for row in rows)
    assert "(draws ± 0." in (report_folder[0] / "tables.md").read_text()


def test_equal_distances_are_said(report_folder, parsed):
    (path,) = (report_folder[0] / "figures").glob("retrievals-*.csv")
    rows = read_csv(path)
    assert sum(int(row["more at this distance"]) for row in rows) > 0
    assert "how many more are as near as the last one shown" in "".join(parsed.text)


def test_bold_needs_seeds(html, bare_run, tmp_path):
    assert "<strong>0." in html
    write_report([str(bare_run)], tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<strong>" not in page and "Nothing is bold: one seed tells no best." in page
    assert "4 ways, and too few seeds to tell a best one" in page


def test_wide_tables_are_told_by_their_letters():
    grid = page.Grid("", ["method", "16 bits", "32 bits"], [[Text("a"), Text("0.500"), Text("0.600")]], [])
    # 16 for the first column, then 3 + 5 letters each: 32; a spread and a number of seeds make it 16 + 2 * 22.
    assert not grid.wide
    assert grid._replace(rows=[[Text("a"), *[Text("0.500 ± 0.010 (n=2)")] * 2]]).wide


def test_wide_things_say_that_they_scroll(parsed):
    classes = [value for _, name, value in parsed.attributes if name == "class"]
    assert classes.count("hint") > 5 and "menu" not in classes
    assert parsed.tags.index("nav") < parsed.tags.index("main")


def make_table(*rows):
    """Methods a, b, c, ... at 16 bits of digits."""
    group = Group("digits", "balanced", "all")
    methods = [Method(name) for name in "abcdef"[: len(rows)]]
    cells = {(method, group, 16): cell for method, cell in zip(methods, rows)}
    cells[methods[0], group, 32] = Cell(None, None, 3)
    return Table("map", tuple(methods), ((group, 16), (group, 32)), cells)


def test_summary_takes_the_highest_mean_and_what_cannot_be_told_from_it():
    table = make_table(Cell(0.5, 0.01, 3), Cell(0.6, 0.02, 3), Cell(0.61, 0.01, 3))
    (card,) = summary_cards([table, table._replace(value="precision_radius2")])
    assert card.numbers == [("16 bits", "0.610 ± 0.010", "c · b")]


def test_summary_of_one_seed_names_no_winner():
    (card,) = summary_cards([make_table(Cell(0.5, None, 1), Cell(0.6, None, 1))])
    assert card.numbers == [("16 bits", "0.500 to 0.600", "2 ways, and too few seeds to tell a best one")]
    (card,) = summary_cards([make_table(Cell(0.5, None, 1))])
    assert card.numbers == [("16 bits", "0.500", "a")]


def test_a_method_that_chooses_no_bits_is_reported(tmp_path, pictures):
    run = make_run(tmp_path / "lsh", pictures, 5, method="lsh")
    _, notes = write_report([str(run)], tmp_path / "out")
    assert notes == [] and "| lsh, trained at this length |" in (tmp_path / "out/tables.md").read_text()
    drawn = {path.stem.split("-")[0] for path in (tmp_path / "out/figures").glob("*.csv")}
    assert {"map_bits", "precision_recall", "retrievals", "tsne", "correlation"} <= drawn
    assert not {"learning", "reward_map"} & drawn


def test_two_methods_are_told_apart(tmp_path, two_runs, pictures):
    paths = [str(sorted(two_runs.iterdir())[0]), str(make_run(tmp_path / "lsh", pictures, 5, method="lsh"))]
    notes = []
    (runs,) = read_runs(paths, notes)
    curves = measure_curves(runs, notes, lambda text: None)
    names = curve_panels(curves, lambda each: Series(each.recall, each.precision))["3 bits"]
    assert list(names) == [
        *(f"drlhash, {name}" for name in ("PPO from 8", "greedy from 8", "trained at this length", "random from 8")),
        *("lsh, trained at this length", "drlhash, all 8 bits", "lsh, all 8 bits"),
    ]
    assert curves.runs.length_title(curves.runs.records[0], 3) == "drlhash (compact), 3 of 8 bits"
    health = [name for name, _ in measure_health(curves.runs).rows]
    assert (
        health[0] == "drlhash, all 8 bits" and health[1] == "drlhash, 3 bits, PPO" and health[-1] == "lsh, all 8 bits"
    )
    assert notes == []


def test_codes_that_a_run_did_not_store_are_left_out(tmp_path, pictures):
    run = make_run(tmp_path / "run", pictures)
    for path in (run / "codes").glob("direct_*"):
        path.unlink()
    notes = []
    curves = measure_curves(read_runs([str(run)], notes)[0], notes, lambda text: None)
    assert [note.split(": ")[1] for note in notes] == [
        "no curves of 3 bits, trained at this length; it stored no codes of them"
    ]
    assert len(curves.measured) == 7 and curves.runs.labelled


@pytest.mark.parametrize("name", ["database", "query", "direct_003_database"])
def test_damaged_codes_are_called_damaged(name, tmp_path, pictures):
    run = make_run(tmp_path / "run", pictures)
    path = run / "codes" / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused([run], tmp_path / "out", f"codes/{name}.npy", "damaged")


def test_runs_of_an_older_version_are_refused(tmp_path, pictures):
    run = make_run(tmp_path / "run", pictures)
    stored = json.loads((run / "config.json").read_text())
    del stored["format"]
    (run / "config.json").write_text(json.dumps(stored))
    refused([run], tmp_path / "out", "config.json is of format 1", "run again")


def test_data_that_are_gone_are_named_and_the_rest_is_shown(tmp_path, pictures):
    moved = tmp_path / pictures.name
    shutil.copytree(pictures.parent / "photos", tmp_path / "photos")
    shutil.copy(pictures, moved)
    run = make_run(tmp_path / "run", moved, learning=False)
    moved.unlink()
    _, (no_data, no_curves) = write_report([str(run)], tmp_path / "out")
    assert "no figure that needs labels or images" in no_data and "no such file" in no_data
    assert "metrics.jsonl has no stage selection_*_ppo" in no_curves
    names = {path.stem.split("-")[0] for path in (tmp_path / "out/figures").iterdir()}
    assert names == {"map_bits", "precision_radius2", "correlation", "reward_map"}
    text = "".join(Parsed((tmp_path / "out/report.html").read_text(encoding="utf-8")).text)
    assert no_data in text and no_curves in text


def test_data_that_changed_are_noticed(tmp_path, pictures):
    shutil.copytree(pictures.parent / "photos", tmp_path / "photos")
    changed = tmp_path / pictures.name
    lines = pictures.read_text().splitlines()
    run = make_run(tmp_path / "run", changed)
    rows = [json.loads(line) for line in lines]
    for row, label in zip(rows, np.random.default_rng(1).permutation([row["labels"][0] for row in rows])):
        row["labels"] = [str(label)]
    changed.write_text("\n".join(map(json.dumps, rows)))
    _, (note,) = write_report([str(run)], tmp_path / "out")
    assert "data or codes have changed since" in note
    names = {path.stem.split("-")[0] for path in (tmp_path / "out/figures").iterdir()}
    assert names == {"map_bits", "precision_radius2", "correlation", "learning", "reward_map"}


def test_an_earlier_report_is_replaced_and_nothing_else(tmp_path, bare_run):
    runs = [str(bare_run)]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="mine holds other files and no report"):
        write_report(runs, tmp_path / "mine")
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "figures/stale.png").write_bytes(b"")
    (out / "report.html").write_text("earlier")
    (out / "notes.txt").write_text("mine")
    write_report(runs, out)
    assert not (out / "figures/stale.png").exists() and (out / "notes.txt").read_text() == "mine"
    assert (out / "report.html").read_text() != "earlier"


def refused(runs, out, *words):
    """The one line of a refusal, which wrote nothing."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        write_report(list(map(str, runs)), out)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value
    assert sorted(out.parent.rglob("*")) == before


def test_what_no_report_holds_together(tmp_path, two_runs, pictures):
    first = sorted(two_runs.iterdir())[0]
    other = make_run(tmp_path / "other", pictures, 2, protocol="balanced-1-2-all")
    refused([first, other], tmp_path / "out", "seed 0", "other", "protocol random-8-20-all", "make one of each")
    defined = make_run(tmp_path / "defined", pictures, 3)
    metrics = json.loads((defined / "metrics.json").read_text())
    metrics["definitions"]["map"] = "something else"
    (defined / "metrics.json").write_text(json.dumps(metrics))
    refused([first, defined], tmp_path / "out", "define map differently")
    refused([first, first], tmp_path / "out", "give each run once")


def test_what_is_no_run(tmp_path, two_runs):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs/cut").mkdir(parents=True)
    (tmp_path / "runs/cut/config.json").write_text('{"format": 2, "config": {}}')
    (tmp_path / "file").write_text("")
    refused([tmp_path / "nowhere"], out, "nowhere is not there")
    refused([tmp_path / "file"], out, "file is a file")
    refused([tmp_path / "empty"], out, "empty holds no run, and no folder in it does")
    refused([two_runs, tmp_path / "runs"], out, "cut has no metrics.json", "not finished")
    refused([two_runs], tmp_path / "file", "file is a file: give a directory")
    metrics = {"definitions": {}, "results": []}
    (tmp_path / "runs/cut/metrics.json").write_text(json.dumps(metrics))
    refused([tmp_path / "runs"], out, "cut/run.json cannot be read")
    (tmp_path / "runs/cut/run.json").write_text('{"format": 2, "split": {}}')
    refused([tmp_path / "runs"], out, "cut/metrics.json holds no result rows")


@pytest.mark.parametrize("text", ["{}", '{"selections": [{"bits": 3}]}', '{"selections": [], "reward": {}}'])
def test_damaged_selections(text, tmp_path, pictures):
    run = make_run(tmp_path / "run", pictures)
    (run / "selection.json").write_text(text)
    refused([run], tmp_path / "out", "selection.json is not as a run writes it")


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_packages_that_are_not_installed(package, tmp_path, two_runs, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    refused([two_runs], tmp_path / "out", f"the package {package}: pip install 'drlhash-jax[report]'")


def test_a_page_that_would_be_too_large(tmp_path, bare_run, monkeypatch):
    monkeypatch.setattr(page, "MAX_BYTES", 10_000)
    refused([bare_run], tmp_path / "out", "report.html would have", "give fewer datasets")


def test_class_names_reach_the_figures(report_folder):
    (path,) = (report_folder[0] / "figures").glob("tsne-*.csv")
    assert {row["class"] for row in read_csv(path)} == set(CLASSES)


def test_robustness_is_drawn_when_it_is_asked_for(two_runs, tmp_path, monkeypatch):
    """Two attacks on the runs' eight queries; dHash stands in for a trained model, which made-up runs lack."""
    measure, asked = robustness.measure_robustness, []
    model = lambda folder, bits=None, selector=None: (
        asked.append((bits, selector)) or robustness.perceptual_hasher("dhash")
    )
    monkeypatch.setattr(robustness, "model_hasher", model)
    monkeypatch.setattr(
        robustness, "measure_robustness", lambda images, hashers: measure(images, hashers, ("blur", "crop"))
    )
    for other in ("draw_retrievals", "draw_tsne", "draw_correlation", "draw_learning", "draw_rewards"):
        monkeypatch.setattr(gather, other, lambda *args: None)
    write_report([str(two_runs)], tmp_path / "out", robustness=True)
    # All bits, and the longest selection.
    assert asked == [(None, None), (5, "ppo")]
    (table,) = (tmp_path / "out/figures").glob("robustness-*.csv")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    # Four strengths of two attacks for four hashes.
    assert len(rows) == 4 * 2 * 4
    assert "Robustness" in (tmp_path / "out/report.html").read_text()


def test_robustness_of_runs_without_a_model_is_missing(two_runs, tmp_path):
    notes = []
    (runs,) = read_runs([str(two_runs)], notes)
    assert draw_robustness(tmp_path, runs, notes, lambda text: None) is None
    assert any("no robustness curves" in note and "model" in note for note in notes)
