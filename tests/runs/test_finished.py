"""The reader of finished runs: what it gives, and every way in which a directory is not one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from drlhash_jax import data
from drlhash_jax.codes import save_codes
from drlhash_jax.errors import UserError
from drlhash_jax.files import write_arrays, write_json
from drlhash_jax.runs.finished import (
    RunData,
    check_code_rows,
    read_finished_run,
    read_learning_curves,
    read_pool_codes,
    read_run_codes,
    read_run_data,
)

POOL = np.random.default_rng(0).integers(0, 2, (6, 4)).astype(np.uint8)
ROWS = {"query": np.array([5, 0]), "train": np.array([1, 2]), "database": np.array([1, 2, 3, 4])}
SPLIT = data.Split("random-2-2-all", ROWS["query"], ROWS["train"], ROWS["database"])
LABELS = np.array([0, 1, 1, 0, 1, 0], np.int32)


def row(role, selector, bits, **fields):
    facts = {"method": "lsh", "dataset": "toy", "protocol": "random-2-2-all", "seed": 3, "encoder": "mlp", "map": 0.5}
    return (
        facts
        | {"role": role, "selector": selector, "bits": bits, "pool_bits": 4, "map_at": None, "n_database": 4}
        | fields
    )


def scalars(stage, step, reward):
    names = ("mean_reward", "mode_reward", "best_reward")
    return json.dumps({"stage": stage, "step": step} | dict.fromkeys(names, reward))


@pytest.fixture
def run_folder(tmp_path):
    """A small run of format 2."""
    folder = tmp_path / "run"
    # Not in the order of their place in a list, nor of their lengths.
    rows = [row("direct", "none", 2), row("selected", "greedy", 3), row("pool", "none", 4)]
    selections = [
        {"bits": 3, "selector": "greedy", "orders": [[2, 0, 1]], "rewards": [0.5], "map_evaluations": 9},
        {"bits": 2, "selector": "random", "orders": [[0, 1], [3, 2]], "rewards": [0.1, 0.2], "map_evaluations": 2},
        {"bits": 2, "selector": "greedy", "orders": [[2, 0]], "rewards": [0.4], "map_evaluations": 7},
    ]
    config = {"seed": 3, "top_k": 0, "data": {"source": "arrays", "path": "toy.npz:x", "later_field": 1}}
    contents = {
        "config.json": {"format": 2, "config": config},
        "run.json": {"format": 2, "split": {"protocol": "random-2-2-all", "digest": data.split_digest(SPLIT)}},
        "metrics.json": {"definitions": {"map": "mean"}, "results": rows},
        "selection.json": {"reward": {"all_bits": 0.6}, "selections": selections},
    }
    for name, content in contents.items():
        write_json(folder / name, content)
    write_arrays(folder / "split.npz", ROWS)
    for part, numbers in ROWS.items():
        save_codes(folder / "codes" / part, POOL[numbers])
    save_codes(folder / "codes" / "direct_002_query", POOL[ROWS["query"], :2])
    lines = [scalars("selection_002_ppo", step, step / 10) for step in (1, 0)]
    lines += [scalars("selection_002_greedy", 0, 1), scalars("encoder_004", 0, 1), "[]", '{"stage": "selection_002_p']
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


def test_what_a_run_says(run_folder):
    run = read_finished_run(run_folder)
    # The pool by its role, wherever it stands.
    assert run.pool["bits"] == 4 and run.definitions == {"map": "mean"} and run.facts["format"] == 2
    assert run.config["data.source"] == "arrays"
    assert list(run.orders) == [(2, "random"), (2, "greedy"), (3, "greedy")]
    # Without PPO, the first selector.
    assert (run.main_selector, run.lengths) == ("random", [2])
    assert run.selected(3, "greedy")["rewards"] == [0.5] and run.selected(3, "ppo") is None
    curves = read_learning_curves(run)
    assert list(curves) == [2] and curves[2]["best_reward"].tolist() == [0.0, 0.1]


def test_a_run_that_chose_no_bits(run_folder):
    (run_folder / "selection.json").unlink()
    (run_folder / "metrics.jsonl").unlink()
    run = read_finished_run(run_folder)
    assert (run.orders, run.main_selector, run.lengths, run.selected(2, "ppo")) == ({}, None, [], None)
    assert read_learning_curves(run) == {}


def test_codes(run_folder):
    run = read_finished_run(run_folder)
    codes = read_pool_codes(run)
    assert list(codes) == ["query", "database"]
    np.testing.assert_array_equal(codes["database"], POOL[1:5])
    np.testing.assert_array_equal(read_run_codes(run, "direct_002_query"), POOL[[5, 0], :2])
    assert read_run_codes(run, "direct_002_database") is None
    check_code_rows(run, codes, ROWS)
    with pytest.raises(UserError, match=r"codes/query.npy has 2 rows, split.npz has 4$"):
        check_code_rows(run, codes, ROWS | {"query": np.arange(4)})


def spoil_json(run, name, **fields):
    path = run / "codes" / f"{name}.json"
    write_json(path, json.loads(path.read_text()) | fields)


DAMAGES = {
    "flipped": (lambda run: (run / "codes/query.npy").write_bytes(b"x" * 100), "query.npy: its SHA-256.*damaged"),
    "cut": (lambda run: (run / "codes/query.npy").write_bytes(b""), "query.npy: its SHA-256.*damaged"),
    "rows": (lambda run: spoil_json(run, "query", rows=3), "query.npy is damaged: it has 2 rows, the .json.* says 3"),
    "bits": (lambda run: save_codes(run / "codes/query", POOL[:2, :3]), "query.npy has 3 bits, metrics.json says 4"),
    "no facts": (lambda run: (run / "codes/query.json").unlink(), "query.npy: the .json beside it is missing or dam"),
    "facts": (lambda run: (run / "codes/query.json").write_text("{"), "so the number of bits is unknown"),
    "kind": (lambda run: spoil_json(run, "query", bits="4"), "query.npy is damaged, or the .json beside it is"),
    "length": (lambda run: spoil_json(run, "query", bits=9), "query.npy holds uint8 .*not packed codes of 9 bits"),
}


@pytest.mark.parametrize("spoil, words", [pytest.param(*case, id=name) for name, case in DAMAGES.items()])
def test_damaged_codes_are_named(spoil, words, run_folder):
    spoil(run_folder)
    with pytest.raises(UserError, match=words) as caught:
        read_pool_codes(read_finished_run(run_folder))
    assert "\n" not in str(caught.value)


def edit(name, change):
    """Spoils a JSON file of a run."""

    def spoil(run):
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return spoil


def first_row(**fields):
    return edit("metrics.json", lambda content: content["results"][0].update(fields))


def first_selection(**fields):
    return edit("selection.json", lambda content: content["selections"][0].update(fields))


MISTAKES = {
    "nothing": (lambda run: shutil.rmtree(run), r"run holds no run \(no config.json\)"),
    "unfinished": (lambda run: (run / "metrics.json").unlink(), "not finished.*finish it first by its own command"),
    "no run.json": (lambda run: (run / "run.json").unlink(), "run.json cannot be read: No such file"),
    "old": (edit("config.json", lambda content: content.pop("format")), "config.json is of format 1.*run again"),
    "old facts": (edit("run.json", lambda content: content.update(format=1)), "run.json is of format 1.*run again"),
    "new": (edit("config.json", lambda content: content.update(format=3)), "config.json is of format 3"),
    "odd": (edit("config.json", lambda content: content.update(format="x")), "config.json is of format x"),
    "config": (edit("config.json", lambda content: content.update(config=[])), "config.json is no configuration"),
    "not JSON": (lambda run: (run / "metrics.json").write_text("{"), "metrics.json is not JSON.*damaged"),
    "no object": (lambda run: (run / "metrics.json").write_text("[]"), "metrics.json holds no JSON object"),
    "no definitions": (edit("metrics.json", lambda content: content.pop("definitions")), "has no field definitions"),
    "no split": (edit("run.json", lambda content: content.pop("split")), "run.json has no field split"),
    "binary": (lambda run: (run / "selection.json").write_bytes(b"\xff"), "selection.json is not JSON.*damaged"),
    "no rows": (edit("metrics.json", lambda content: content.update(results=[])), "metrics.json holds no result rows"),
    "field": (edit("metrics.json", lambda content: content["results"][1].pop("method")), "row 1: no field method"),
    "not a row": (
        edit("metrics.json", lambda content: content["results"].insert(0, 7)),
        "row 0: no field method, role",
    ),
    "role": (first_row(role="best"), "row 0: role 'best' is none of pool, selected, direct"),
    "two pools": (first_row(role="pool"), "must have one row of role pool"),
    "type": (first_row(bits="16"), "row 0: bits, pool_bits and seed must be whole numbers"),
    "positions": (first_selection(orders=[[2, 0, 4]]), "3 bits by greedy are not positions in 4 bits"),
    "too few": (first_selection(orders=[[2, 0]]), "3 bits by greedy are not positions in 4 bits"),
    "draws": (first_selection(rewards=[]), "selection.json is not as a run writes it"),
    "null": (first_selection(rewards=[None]), "selection.json is not as a run writes it"),
    "no reward": (edit("selection.json", lambda content: content.pop("reward")), "no field 'reward'"),
}


@pytest.mark.parametrize("spoil, words", [pytest.param(*case, id=name) for name, case in MISTAKES.items()])
def test_what_is_no_finished_run_gets_one_line(spoil, words, run_folder):
    spoil(run_folder)
    with pytest.raises(UserError, match=words) as caught:
        read_finished_run(run_folder)
    assert "\n" not in str(caught.value)


def load(source, **settings):
    """Stands in for the data's room."""
    assert (source, settings) == ("arrays", {"path": "toy.npz:x"})
    return data.Dataset("toy", None, LABELS)


def test_data_of_a_run(run_folder):
    found = read_run_data(read_finished_run(run_folder), load)
    assert isinstance(found, RunData) and found.labels("query").tolist() == [0, 0]
    assert found.labels("database").tolist() == [1, 1, 0, 1]


DATA_MISTAKES = {
    "no split": (lambda run: (run / "split.npz").unlink(), load, "split.npz cannot be read: No such file"),
    "cut": (lambda run: (run / "split.npz").write_bytes(b"PK"), load, "split.npz is damaged"),
    "other split": (
        lambda run: write_arrays(run / "split.npz", ROWS | {"query": np.array([0, 5])}),
        load,
        "not the split that run.json has the digest of: it was changed or damaged",
    ),
    "source": (edit("config.json", lambda content: content["config"]["data"].pop("source")), load, "data.source=None"),
    "gone": (lambda run: None, lambda *args, **kwargs: Path("/nowhere").read_text(), "data.source=arrays: .*No such"),
    "fewer rows": (
        lambda run: None,
        lambda *args, **kwargs: data.Dataset("toy", None, LABELS[:5]),
        "run was made of toy with 6 rows or more; toy has 5 rows now",
    ),
    "other data": (
        lambda run: None,
        lambda *args, **kwargs: data.Dataset("other", None, LABELS),
        "run was made of toy with 6 rows or more; other has 6 rows now",
    ),
}


@pytest.mark.parametrize("spoil, loader, words", [pytest.param(*case, id=name) for name, case in DATA_MISTAKES.items()])
def test_data_that_cannot_be_those_of_the_run(spoil, loader, words, run_folder):
    spoil(run_folder)
    with pytest.raises(UserError, match=words) as caught:
        read_run_data(read_finished_run(run_folder), loader)
    assert "\n" not in str(caught.value)
