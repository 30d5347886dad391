"""Tables: golden means and texts, what may share a table, and the published values against the seeds they are from."""

import csv
import statistics
from importlib import resources

import pytest

from drlhash_jax.errors import UserError
from drlhash_jax.figures import Series
from drlhash_jax.report import panels_of, published_tables, result_tables, save_tables, side_by_side
from drlhash_jax.report.table_files import to_latex, to_markdown
from drlhash_jax.report.tables import Cell, Group, Method, Table, best_cells
from drlhash_jax.runs.finished import FinishedRun

DEFINITIONS = {"map": "mean of average precision", "map_at": "ranks", "n_query": "queries", "empty_balls": "share"}


def row(bits, value, selector="ppo", seed=0, **fields):
    """A result row as a run writes it."""
    return {
        **{"method": "drlhash", "role": "pool" if selector == "none" else "selected", "selector": selector},
        **{"bits": bits, "pool_bits": 64, "dataset": "digits"},
        **{"protocol": "balanced", "seed": seed, "encoder": "mlp", "map": value, "map_at": None},
        **{"precision_radius2": 0.5, "n_query": 20, "n_database": 100},
        **fields,
    }


@pytest.fixture
def make_run(tmp_path):
    """A run as it is read from a directory."""

    def make(name, rows, definitions=DEFINITIONS, **config):
        flat = {"seed": rows[0]["seed"], "data.path": name, "ppo.num_updates": 9} | config
        return FinishedRun(tmp_path / name, flat, {}, rows, definitions, {})

    return make


@pytest.fixture
def three_seeds(make_run):
    values = [(0.60, 0.5), (0.64, 0.6), (0.62, 0.4)]
    rows = lambda seed, ppo, direct: [
        row(64, direct, "none", seed),
        row(16, ppo, "ppo", seed),
        row(32, ppo + 0.1, "ppo", seed),
    ]
    return [make_run(f"s{seed}", rows(seed, *pair)) for seed, pair in enumerate(values)]


DIGITS = Group("digits", "balanced", "all")
PPO, DIRECT = Method("drlhash, PPO from 64"), Method("drlhash, trained at this length")


def test_golden_table(three_seeds):
    (table,) = result_tables(three_seeds)
    assert table.title == "digits, protocol balanced, mAP@all; mean ± sd (n - 1), n = 3 seeds"
    assert table.methods == (DIRECT, PPO)
    assert table.columns == ((DIGITS, 16), (DIGITS, 32), (DIGITS, 64))
    # (.60 + .64 + .62) / 3 = .62, deviations -.02, .02, 0: sqrt(.0008 / 2) = .02. And .5 with sqrt(.02 / 2) = .1.
    cell = table.cells[PPO, DIGITS, 16]
    assert (cell.mean, cell.sd, cell.n) == (pytest.approx(0.62), pytest.approx(0.02), 3)
    assert table.cells[DIRECT, DIGITS, 64] == Cell(pytest.approx(0.5), pytest.approx(0.1), 3)
    assert (DIRECT, DIGITS, 16) not in table.cells
    assert to_markdown(table) == (
        "digits, protocol balanced, mAP@all; mean ± sd (n - 1), n = 3 seeds\n"
        "\n"
        "| method | 16 bits | 32 bits | 64 bits |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| drlhash, trained at this length | - | - | 0.500 ± 0.100 |\n"
        "| drlhash, PPO from 64 | 0.620 ± 0.020 | 0.720 ± 0.020 | - |\n"
    )


def test_golden_latex(three_seeds):
    (table,) = result_tables(three_seeds)
    odd = table._replace(
        methods=(Method("50 % of a_b & c"),), cells={(Method("50 % of a_b & c"), DIGITS, 16): Cell(0.5, None, 1)}
    )
    assert to_latex(odd).splitlines() == [
        r"\begin{table}",
        r"\caption{digits, protocol balanced, mAP@all; one seed}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r" & \multicolumn{3}{c}{digits, protocol balanced, mAP@all} \\",
        r"\cmidrule(lr){2-4}",
        r"method & 16 bits & 32 bits & 64 bits \\",
        r"\midrule",
        r"50 \% of a\_b \& c & 0.500 & - & - \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    assert r"0.620 $\pm$ 0.020" in to_latex(table)


@pytest.fixture
def ranked(make_run):
    """Three seeds of four ways at 16 bits; one way at 32."""
    ways = {"ppo": (0.60, 0.64, 0.62), "greedy": (0.58, 0.60, 0.62), "random": (0.57, 0.57, 0.57)}
    rows = lambda seed: [row(16, values[seed], name, seed) for name, values in ways.items()]
    random = {"map_sd": 0.01, "num_draws": 10}
    for_seed = lambda seed: [each | (random if each["selector"] == "random" else {}) for each in rows(seed)]
    return [make_run(f"s{seed}", [*for_seed(seed), row(32, 0.7 + 0.01 * seed, "ppo", seed)]) for seed in range(3)]


def test_the_best_and_what_cannot_be_told_from_it_are_bold(ranked):
    (table,) = result_tables(ranked)
    # PPO: .62 ± .02, so all that reach .60: greedy with .60 ± .02, and not random with .57 ± 0.
    greedy = Method("drlhash, greedy from 64")
    assert best_cells(table) == {(PPO, DIGITS, 16), (greedy, DIGITS, 16)}
    text = to_markdown(table)
    assert "| drlhash, PPO from 64 | **0.620 ± 0.020** | 0.710 ± 0.010 |" in text
    assert "| drlhash, greedy from 64 | **0.600 ± 0.020** | - |" in text
    assert "| drlhash, random from 64 | 0.570 ± 0.000 (draws ± 0.010) | - |" in text
    assert "\nBold: the highest mean of a column, and all whose mean ± sd reaches its mean - sd.  \n" in text
    assert r"\textbf{0.620 $\pm$ 0.020}" in to_latex(table)
    assert panels_of([table])[str(DIGITS)]["drlhash, random from 64"].band == [pytest.approx(0.01)]


def test_one_seed_has_no_best(ranked, make_run):
    (table,) = result_tables(ranked[:1])
    assert best_cells(table) == set()
    text = to_markdown(table)
    assert "**" not in text and "textbf" not in to_latex(table)
    assert text.endswith(
        "\nNothing is bold: one seed tells no best.  \ndraws ±: standard deviation (n - 1) over random selections.  \n"
    )
    # Nor is there one where the highest mean is of one seed.
    higher = make_run("other", [row(16, 0.9, "first", 7)])
    (table,) = result_tables([*ranked, higher])
    assert best_cells(table) == set()
    # A lower one of a single seed has no spread that could reach the best.
    lower = make_run("other", [row(16, 0.615, "first", 7)])
    (table,) = result_tables([*ranked, lower])
    assert {method.name for method, _, _ in best_cells(table)} == {"drlhash, PPO from 64", "drlhash, greedy from 64"}


def test_the_interval_of_one_seed_is_shown(make_run):
    runs = [make_run(f"s{seed}", [row(16, 0.5, "ppo", seed, map_interval=[0.45, 0.56])]) for seed in (0, 1)]
    assert "| 0.500 [0.450, 0.560] |" in to_markdown(result_tables(runs[:1])[0])
    assert "[a, b]: 95 % interval over queries" in to_markdown(result_tables(runs[:1])[0])
    # Over seeds there is their spread, and a value without an interval has none.
    assert "| 0.500 ± 0.000 |" in to_markdown(result_tables(runs)[0])
    assert "[0." not in to_markdown(result_tables(runs[:1], "precision_radius2")[0])


def test_methods_other_than_drlhash_have_rows_of_their_own(make_run):
    runs = [make_run("a", [row(64, 0.5, "none")]), make_run("b", [row(64, 0.2, "none", method="lsh")], method="lsh")]
    (table,) = result_tables(runs)
    assert [method.name for method in table.methods] == [DIRECT.name, "lsh, trained at this length"]


def test_mean_and_spread_against_the_standard_library(make_run):
    values = [0.1, 0.15, 0.4, 0.33]
    (table,) = result_tables([make_run(f"s{seed}", [row(16, v, seed=seed)]) for seed, v in enumerate(values)])
    cell = table.cells[PPO, DIGITS, 16]
    assert (cell.mean, cell.sd) == (pytest.approx(statistics.mean(values)), pytest.approx(statistics.stdev(values)))


def test_order_of_runs_does_not_change_numbers(three_seeds):
    (table,), (other,) = result_tables(three_seeds), result_tables(three_seeds[::-1])
    assert other.columns == table.columns and other.methods == table.methods
    for key, cell in table.cells.items():
        assert other.cells[key].mean == pytest.approx(cell.mean) and other.cells[key].n == cell.n


def test_seeds_are_counted_in_each_cell(make_run):
    runs = [make_run("a", [row(16, 0.5, seed=0), row(32, 0.6, seed=0)]), make_run("b", [row(16, 0.7, seed=1)])]
    (table,) = result_tables(runs)
    assert table.title.endswith("; mean ± sd (n - 1) over n seeds")
    # .1 sqrt 2 = .141.
    assert "| drlhash, PPO from 64 | 0.600 ± 0.141 (n=2) | 0.600 (n=1) |" in to_markdown(table)


def test_a_number_that_is_missing_in_one_run(make_run):
    runs = [make_run("a", [row(16, None, seed=0)]), make_run("b", [row(16, 0.7, seed=1)])]
    (table,) = result_tables(runs)
    assert table.cells[PPO, DIGITS, 16] == Cell(None, None, 2)
    assert "| drlhash, PPO from 64 | - |" in to_markdown(table)
    assert panels_of([table]) == {str(DIGITS): {}}


def test_protocols_and_cut_offs_get_tables_of_their_own(make_run):
    runs = [
        make_run("a", [row(16, 0.5), row(16, 0.6, map_at=5000), row(16, 0.7, protocol="C-54")]),
        make_run("b", [row(16, 0.8, dataset="coco", seed=0)]),
    ]
    tables = result_tables(runs)
    groups = [Group("digits", "balanced", "all"), Group("digits", "balanced", "5000")]
    groups += [Group("digits", "C-54", "all"), Group("coco", "balanced", "all")]
    assert [table.groups for table in tables] == [(group,) for group in groups]
    # One dataset beside another, but not one protocol beside another of the same dataset.
    both = side_by_side([tables[0], tables[3]])
    assert both.columns == ((groups[0], 16), (groups[3], 16)) and both.methods == (PPO,)
    assert "| method | digits, 16 bits | coco, 16 bits |" in to_markdown(both)
    assert r"\multicolumn{1}{c}{coco, protocol balanced, mAP@all}" in to_latex(both)
    for pair in (tables[:2], [tables[0], tables[2]]):
        with pytest.raises(UserError, match="no table holds both: digits, protocol .*; digits, protocol "):
            side_by_side(pair)
    with pytest.raises(UserError, match="no table holds both: .*; precision_radius2: coco"):
        side_by_side([tables[0], result_tables(runs, "precision_radius2")[3]])


def test_several_encoders_are_named(make_run):
    runs = [make_run("a", [row(16, 0.5)]), make_run("b", [row(16, 0.6, encoder="alexnet")])]
    (table,) = result_tables(runs)
    assert [method.name for method in table.methods] == ["drlhash, PPO from 64 (mlp)", "drlhash, PPO from 64 (alexnet)"]


@pytest.mark.parametrize(
    "field, text",
    [
        ("map", "mean of average precision, divided by the relevant rows"),
        ("map_at", "ranks that count"),
        ("n_query", None),
    ],
)
def test_other_definitions_are_refused(field, text, make_run):
    first = make_run("first", [row(16, 0.5)])
    second = make_run("second", [row(16, 0.6, seed=1)], DEFINITIONS | {field: text})
    with pytest.raises(UserError, match=rf"first and .*second define {field} differently .*: no table holds both$"):
        result_tables([first, second])


def test_definitions_that_play_no_part_may_differ(make_run):
    runs = [make_run("a", [row(16, 0.5)]), make_run("b", [row(16, 0.6, seed=1)], DEFINITIONS | {"seconds": "CPU time"})]
    assert result_tables(runs)[0].cells[PPO, DIGITS, 16].n == 2
    with pytest.raises(UserError, match="define empty_balls differently"):
        other = make_run("c", [row(16, 0.6, seed=2, empty_balls=0.5)], DEFINITIONS | {"empty_balls": "another"})
        result_tables([*runs, other], "empty_balls")


def test_what_is_no_repetition_is_refused(make_run):
    first = make_run("first", [row(16, 0.5)])
    with pytest.raises(
        UserError, match="first and .*first both give seed 0 of drlhash, PPO from 64, 16 bits on digits"
    ):
        result_tables([first, first])
    twice = make_run("twice", [row(16, 0.5), row(16, 0.6)])
    with pytest.raises(UserError, match="twice and .*twice both give seed 0"):
        result_tables([twice])
    other = make_run("other", [row(16, 0.5, seed=1)], **{"ppo.num_updates": 10})
    with pytest.raises(UserError, match="first and .*other differ in ppo.num_updates, not only in the seed"):
        result_tables([first, other])
    smaller = make_run("smaller", [row(16, 0.5, seed=1, n_database=99)])
    with pytest.raises(UserError, match="first searched 100 rows and .*smaller 99"):
        result_tables([first, smaller])
    # Where files lie, and which lengths were asked for, changes nothing.
    elsewhere = make_run(
        "elsewhere",
        [row(16, 0.5, seed=2)],
        bits=[16, 32],
        **{"data.path": "/other", "data.cache": "x", "checkpoint_seconds": 1},
    )
    assert result_tables([first, elsewhere])[0].cells[PPO, DIGITS, 16].n == 2


def test_nothing_to_show(make_run):
    run = make_run("a", [row(16, 0.5)])
    with pytest.raises(UserError, match="there are no result rows"):
        result_tables([])
    with pytest.raises(UserError, match="no result row has a field speed"):
        result_tables([run], "speed")
    with pytest.raises(UserError, match="encoder is 'mlp', not a number"):
        result_tables([run], "encoder")
    with pytest.raises(UserError, match="there are no tables to put side by side"):
        side_by_side([])


def test_panels(three_seeds):
    panels = panels_of(result_tables(three_seeds))
    ppo = panels[str(DIGITS)]["drlhash, PPO from 64"]
    assert ppo == Series([16, 32], [pytest.approx(0.62), pytest.approx(0.72)], [pytest.approx(0.02)] * 2)
    assert list(panels[str(DIGITS)]) == ["drlhash, trained at this length", "drlhash, PPO from 64"]
    # One seed has no spread.
    assert panels_of(result_tables(three_seeds[:1]))[str(DIGITS)]["drlhash, PPO from 64"] == Series(
        [16, 32], [0.6, 0.7]
    )


def test_published_margins():
    """The margins that the thesis states follow from its Table 4.1 as it is stored here."""
    by_group = {table.groups[0]: table for table in published_tables(["thesis, Table 4.1"])}
    mean = lambda group, name: statistics.mean(
        cell.mean for (method, _, _), cell in by_group[group].cells.items() if method.name.startswith(name)
    )
    cifar, coco = Group("cifar10", "C-54", "all"), Group("coco", "CO", "5000")
    old, new = Group("nuswide", "N-81m", "5000"), Group("nuswide", "N-21", "5000")
    assert set(by_group) == {cifar, coco, old, new}
    # (.727 + .790 + .788 + .780) / 4 = .77125 over (.668 + .731 + .735 + .749) / 4 = .72075: the thesis's 7.1 %.
    assert mean(cifar, "thesis") / mean(cifar, "HashGAN") == pytest.approx(1.0701, abs=1e-4)
    # .77025 / .72675: 6 %. And .8 / .736: 8.7 %, but of two protocols.
    assert mean(coco, "thesis") / mean(coco, "HashGAN") == pytest.approx(1.0599, abs=1e-4)
    assert mean(new, "thesis") / mean(old, "HashGAN") == pytest.approx(1.0870, abs=1e-4)
    # Over SDH the thesis has 47.4 %, 28 % and 36 %: .77125 / .5255 = 1.468, .8 / .626 = 1.278, .77025 / .56775 = 1.357.
    assert mean(cifar, "thesis") / mean(cifar, "SDH") == pytest.approx(1.468, abs=1e-3)
    assert mean(new, "thesis") / mean(old, "SDH") == pytest.approx(1.278, abs=1e-3)
    assert mean(coco, "thesis") / mean(coco, "SDH") == pytest.approx(1.357, abs=1e-3)
    with pytest.raises(UserError, match="no table holds both: nuswide, protocol N-81m"):
        side_by_side(published_tables(["thesis, Table 4.1"]))


def test_published_values_have_sources():
    tables = published_tables()
    assert len(tables) == 9 and all(table.published for table in tables)
    for table in tables:
        assert table.title.startswith("published, not measured here: ")
        assert all(method.source for method in table.methods)
        assert all(0.1 < cell.mean < 1 and cell.sd is cell.n is None for cell in table.cells.values())
    rows = sum(len(table.cells) for table in tables)
    lines = resources.files("drlhash_jax.report").joinpath("published.csv").read_text().splitlines()
    # No number twice, none lost.
    assert rows == len(lines) - 1 == len(set(lines)) - 1
    with pytest.raises(UserError, match="nothing published by nobody is known here"):
        published_tables(["nobody"])


def test_one_method_of_two_sources_has_two_rows():
    (table,) = [table for table in published_tables() if table.groups[0].protocol == "N-81m"]
    text = to_markdown(table)
    assert "| HashNet (AlexNet) [1] | 0.662 | 0.699 | 0.711 | 0.716 |" in text
    assert "| HashNet (AlexNet) [3] | - | - | 0.764 | - |" in text
    assert "\n[3] github.com/swuxyj/DeepHash-pytorch, README, best epoch on the test queries" in text


def test_saved_tables(three_seeds, tmp_path):
    measured, published = result_tables(three_seeds), published_tables(["thesis, Table 4.2"])
    paths = save_tables(tmp_path / "new" / "tables", measured, published)
    assert [path.name for path in paths] == ["tables.md", "tables.tex", "tables.csv"]
    markdown = paths[0].read_text()
    assert markdown.index("## Measured") < markdown.index("PPO") < markdown.index("## Published values, not measured")
    assert paths[1].read_text().count(r"\begin{table}") == 3
    with open(paths[2], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        **{"block": "measured", "value": "map", "dataset": "digits", "protocol": "balanced", "map_at": "all"},
        **{"method": "drlhash, PPO from 64", "bits": "16", "mean": "0.62", "sd": "0.02", "n": "3"},
        **{"draws_sd": "", "low": "", "high": "", "source": ""},
    }
    assert rows[-1] == {
        **{"block": "published", "value": "map", "dataset": "nuswide", "protocol": "DRLIH's", "map_at": "unstated"},
        **{
            "method": "thesis (VGG-19)",
            "bits": "48",
            "mean": "0.871",
            "sd": "",
            "n": "",
            "draws_sd": "",
            "low": "",
            "high": "",
            "source": "thesis, Table 4.2",
        },
    }
    with pytest.raises(UserError, match="no table holds both: digits.*; published"):
        side_by_side([*measured, *published[:1]])


def test_bars_in_names_do_not_end_a_cell():
    method = Method("a|b")
    table = Table("map", (method,), ((DIGITS, 16),), {(method, DIGITS, 16): Cell(0.5, None, 1)})
    assert r"| a\|b | 0.500 |" in to_markdown(table)
