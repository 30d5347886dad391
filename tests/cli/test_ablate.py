"""``ablate``: a small ablation from the command line, its numbers against those of its runs, and what it refuses."""

import csv
import json

import numpy as np
import pytest
from commands import run_command

from drlhash_jax.ablation.ablate import cell_config
from drlhash_jax.ablation.settings import ablation_config, load_ablation
from drlhash_jax.ablation.tables import student_interval
from drlhash_jax.config import default_config
from drlhash_jax.errors import UserError

CONFIG = """
from drlhash_jax.ablation import ablation_config
from drlhash_jax.config import default_config

def get_config():
    base = default_config()
    base.data.query, base.data.train, base.pool_bits, base.bits = 5, 60, 8, (3, 8)
    base.reward.num_queries = 40
    config = ablation_config(base)
    # A method that trains nothing: what is tested is what is made of its runs.
    config.ablate.update({"pools": ("lsh",), "rewards": ("auto",), "seeds": (0, 1)})
    config.ablate.selectors = ("greedy", "random", "first")
    return config
"""


def test_student_interval():
    # Differences 1, 2, 3: mean 2, error 1 / sqrt(3); the .975 quantile with 2 degrees of freedom is 4.3027.
    np.testing.assert_allclose(student_interval([1.0, 2.0, 3.0]), [2.0, 2 - 2.48414, 2 + 2.48414], atol=1e-5)


@pytest.mark.slow
def test_an_ablation(tmp_path):
    path, out = tmp_path / "small.py", tmp_path / "out"
    path.write_text(CONFIG)
    done = run_command("ablate", f"--config={path}", f"--workdir={out}", devices=1)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "ablation.json").read_text())
    assert len(content["rows"]) == 2 * 3
    results = lambda cell: json.loads((out / cell / "metrics.json").read_text())["results"]
    for row in content["rows"]:
        cells = [results(f"{row['table']}/{row['pool']}/auto/{seed}") for seed in (0, 1)]
        of = lambda role, selector, bits=row["bits"]: [
            next(
                each["map"] for each in cell if (each["role"], each["selector"], each["bits"]) == (role, selector, bits)
            )
            for cell in cells  # noqa: B023
        ]
        mine = of("selected", row["selector"])
        assert row["map"] == pytest.approx(np.mean(mine), abs=1e-6)
        direct = of("direct", "none") if row["bits"] == 3 else of("pool", "none")
        assert row["over_direct"] == student_interval(np.subtract(mine, direct))
        assert row["over_pool"] == student_interval(np.subtract(mine, of("pool", "none", 8)))
        assert ("over_greedy" in row) == (row["selector"] != "greedy")
    with open(out / "ablation.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(content["rows"])
    page = (out / "ablation.html").read_text()
    assert page.count("<h2>") == 1 + 1 and "Searched for each method" not in page
    # Finished at once, and refused with other settings.
    again = run_command("ablate", f"--config={path}", f"--workdir={out}", devices=1)
    assert again.returncode == 0 and json.loads((out / "ablation.json").read_text())["rows"] == content["rows"]
    other = run_command("ablate", f"--config={path}", f"--workdir={out}", "--config.ablate.seeds=0,2", devices=1)
    assert other.returncode == 1 and "holds another ablation: ablate.seeds was [0, 1], now" in other.stderr


def test_cells():
    config = ablation_config(default_config())
    config.ablate.update({"pools": ("lsh", "csq"), "seeds": (0, 7), "unseen": "C-8+2", "selectors": ("greedy",)})
    config.pools = {"csq": {"training": {"num_epochs": 3}}}
    ablation = load_ablation(config)
    cells = ablation.cells
    # Seed by table by pool by reward.
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 2 and {cell.seed for cell in cells[:8]} == {0}
    first, last = cell_config(ablation, cells[0]), cell_config(ablation, cells[-1])
    assert (first["method"], first["seed"], first["reward"]["codes"], first["train_direct"]) == ("lsh", 0, "auto", True)
    assert (last["method"], last["seed"], last["reward"]["codes"], last["train_direct"]) == ("csq", 7, "fitted", False)
    assert first["data"]["protocol"] == ablation.base["data"]["protocol"] and last["data"]["protocol"] == "C-8+2"
    assert last["training"]["num_epochs"] == 3 != first["training"]["num_epochs"]
    assert last["selectors"] == ("greedy",)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pools", ("lsh", "lsj"), "ablate.pools=lsj: choose among"),
        ("pools", (), "ablate.pools is empty"),
        ("rewards", ("auto", "auto"), "ablate.rewards=auto,auto: each once"),
        ("selectors", ("ppo",), "ablate.selectors: greedy must be among them"),
        ("seeds", (1,), "ablate.seeds=1: give two different integers"),
        ("unseen", "C-54x", "ablate.unseen=C-54x: name a protocol"),
    ],
)
def test_what_is_refused(name, value, message):
    config = ablation_config(default_config()).to_dict()
    with pytest.raises(UserError, match=message):
        load_ablation(config | {"ablate": config["ablate"] | {name: value}})


def test_a_run_is_no_ablation():
    done = run_command("ablate", "--config=configs/digits.py", "--workdir=unused")
    assert done.returncode == 1 and "has no section ablate, base, pools" in done.stderr
    assert run_command("ablate").stderr == "drlhash_jax: ablate needs --workdir=DIR\n"
