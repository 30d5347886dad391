"""The last screen of a run: a table with intervals, what it means, what differs, and what to do next."""

import functools
import shlex

import pytest
from rich.console import Console

from drlhash_jax.bit_selection import SELECTORS
from drlhash_jax.terminal import difference_lines as describe_differences
from drlhash_jax.terminal import legend_lines as describe_rows
from drlhash_jax.terminal import next_step_lines
from drlhash_jax.terminal import results_table as make_table

FACTS = {"method": "drlhash", "dataset": "digits", "protocol": "balanced", "seed": 4, "map_at": None, "n_query": 200}
POOL = FACTS | {"role": "pool", "selector": "none", "bits": 64, "pool_bits": 64}

results_table, legend_lines, difference_lines = (
    functools.partial(function, selectors=SELECTORS) for function in (make_table, describe_rows, describe_differences)
)


def row(selector, bits, value, half_width=0.02, **more):
    role = "direct" if selector == "none" else "selected"
    interval = None if value is None or half_width is None else [value - half_width, value + half_width]
    own = {"role": role, "selector": selector, "bits": bits, "pool_bits": 64, "map": value, "map_interval": interval}
    return FACTS | own | more


ROWS = [
    POOL | {"map": 0.93, "map_interval": [0.91, 0.95]},
    row("random", 16, 0.85, None, map_sd=0.0123, num_draws=10),
    row("greedy", 16, 0.9),
    row("ppo", 16, 0.92),
    row("ppo", 32, 0.94, 0.005),
    row("none", 16, 0.88),
]


def shown(rows, width=120):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(results_table(rows))
    return console.export_text()


def cells(rows):
    """First cell of a line -> the other cells."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in shown(rows).splitlines()]
    return {line[0]: line[1:] for line in lines if line}


def test_the_interval_stands_beside_the_number():
    found = cells(ROWS)
    assert "drlhash: mAP@all on digits, protocol balanced, seed 4" in found
    assert found["bits chosen by"] == ["16 bits", "32 bits", "64 bits"]
    assert found["all 64"] == ["-", "-", "0.930 [0.910, 0.950]"]
    assert found["PPO"] == ["0.920 [0.900, 0.940]", "0.940 [0.935, 0.945]", "-"]
    assert found["random"] == ["0.850 ± 0.012", "-", "-"]
    assert found["trained at p"] == ["0.880 [0.860, 0.900]", "-", "-"]
    names = list(found)
    assert names.index("all 64") < names.index("PPO") < names.index("greedy") < names.index("trained at p")


def test_a_pool_alone():
    rows = [POOL | {"map": 0.5, "map_interval": None, "map_at": 100}]
    assert cells(rows)["all 64"] == ["0.500"] and "mAP@100" in shown(rows)
    assert difference_lines(rows) == []
    (first, second) = legend_lines(rows)
    assert "over the first 100 ranks" in first and second == "all 64: every bit"


def test_rows_are_found_by_their_role():
    """The pool's row is not told by its number of bits: a choice of as many bits has that too."""
    rows = [row("ppo", 64, 0.7), *ROWS[2:4], row("none", 64, 0.6), ROWS[0]]
    found = cells(rows)
    assert found["all 64"][-1].startswith("0.930") and found["PPO"][-1].startswith("0.700")
    assert found["trained at p"][-1].startswith("0.600")


@pytest.mark.parametrize("value", [None, 0.25])
def test_numbers_that_are_not_there(value):
    rows = [ROWS[0] | {"map": None, "map_interval": None}, row("ppo", 16, value, None)]
    assert cells(rows)["all 64"] == ["-", "-"]
    assert cells(rows)["PPO"][0] == ("-" if value is None else "0.250")
    assert difference_lines(rows) == []


def test_an_unknown_selector_has_its_own_name():
    rows = [ROWS[0], row("genetic", 16, 0.9)]
    assert cells(rows)["genetic"][0] == "0.900 [0.880, 0.920]"
    assert not any("genetic" in line for line in legend_lines(rows))


def test_names_are_not_markup():
    rows = [each | {"dataset": "[bold]x[/red]"} for each in ROWS] + [row("[blink]", 16, 0.1)]
    assert "[bold]x[/red]" in shown(rows) and "[blink]" in cells(rows)


def test_the_legend_is_about_what_is_there():
    lines = legend_lines(ROWS)
    text = "\n".join(lines)
    assert "over all ranks" in lines[0] and "these 200" in text and "over 10 random choices" in text
    assert [line.split(":")[0] for line in lines[3:]] == ["all 64", "PPO", "greedy", "random", "trained at p"]
    assert all(len(line) <= 120 for line in lines)
    assert "95 %" not in "\n".join(legend_lines([ROWS[1], row("ppo", 16, 0.5, None)]))


def test_what_differs_and_what_does_not():
    assert difference_lines(ROWS) == [
        "16 bits: all 64 is highest (0.930); lower, with intervals apart: trained at p; "
        "no difference shown, intervals overlap: PPO, greedy",
        "32 bits: PPO is highest (0.940); no difference shown, intervals overlap: all 64",
    ]


def test_intervals_that_touch_overlap():
    best, other = row("ppo", 16, 0.75, 0.125), row("greedy", 16, 0.5, 0.125)
    assert "intervals overlap: greedy" in difference_lines([best, other])[0]
    other["map_interval"][1] -= 1e-6
    assert "intervals apart: greedy" in difference_lines([best, other])[0]


def test_next_steps_are_commands_to_copy():
    lines = next_step_lines("runs/my digits; rm -r x")
    commands = [shlex.split(line) for line in lines if "drlhash_jax.main" in line]
    assert [command[:3] for command in commands] == [["python", "-m", "drlhash_jax.main"]] * 3
    assert commands[0][3:] == ["report", "--runs=runs/my digits; rm -r x", "--out=report"]
    assert commands[1][3:] == ["eval", "--workdir=runs/my digits; rm -r x"]
