"""A method that is not the thesis's goes through every room: run, stopped, on devices, evaluated, reported, loaded."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import ROOT, run_command

from drlhash_jax import encode, load_model
from drlhash_jax.codes import load_codes
from drlhash_jax.data import load_dataset

LSH = (
    *("--config=configs/smoke.py", "--config.method=lsh", "--config.bits=4", "--config.selectors=greedy,random"),
    "--config.checkpoint_seconds=0",
)


def start(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "drlhash_jax.main", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def run(*arguments, devices=1):
    done = run_command(*arguments, devices=devices)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of LSH on one device."""
    folder = tmp_path_factory.mktemp("lsh") / "run"
    run(*LSH, f"--workdir={folder}")
    return folder


def rows_of(folder):
    rows = json.loads((folder / "metrics.json").read_text())["results"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
def test_rows_say_the_method_and_their_role(finished):
    rows = rows_of(finished)
    assert {row["method"] for row in rows} == {"lsh"}
    assert [(row["role"], row["selector"], row["bits"]) for row in rows] == [
        *(("pool", "none", 16), ("selected", "greedy", 4), ("selected", "random", 4), ("direct", "none", 4)),
    ]
    # Chance is .1; random projections of digits are better than that.
    assert rows[0]["map"] > 0.3
    # Nothing is trained, so that no training row is one that was seen.
    assert json.loads((finished / "selection.json").read_text())["reward"]["codes"] == "fitted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "wrapper"),
    [pytest.param(1, "pmap", marks=pytest.mark.exhaustive), pytest.param(2, "shard_map", marks=pytest.mark.exhaustive)]
    + [(4, "pmap")],
)
def test_devices_agree(finished, tmp_path, devices, wrapper):
    run(*LSH, f"--config.parallel={wrapper}", f"--workdir={tmp_path / 'run'}", devices=devices)
    for path in sorted((finished / "codes").glob("*.npy")):
        same = np.load(path) == np.load(tmp_path / "run/codes" / path.name)
        assert same.all() if devices == 1 else same.mean() > 0.999, path.name


@pytest.mark.slow
def test_stopped_and_continued(finished, tmp_path):
    folder = tmp_path / "run"
    process = start(*LSH, f"--workdir={folder}")
    while not (folder / "checkpoints/projection_016.npz").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    run(*LSH, f"--workdir={folder}")
    assert rows_of(folder) == rows_of(finished)
    for path in (finished / "codes").iterdir():
        assert path.read_bytes() == (folder / "codes" / path.name).read_bytes()


@pytest.mark.slow
def test_evaluated_and_reported(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    assert "eval.json" in run("eval", f"--workdir={tmp_path / 'run'}")
    evaluated = json.loads((tmp_path / "run/eval.json").read_text())["results"]
    assert {row["selector"] for row in evaluated} == {"none", "greedy", "random"}
    run("report", f"--runs={finished}", f"--out={tmp_path / 'report'}")
    assert "lsh" in (tmp_path / "report/report.html").read_text()


@pytest.mark.slow
def test_saved_and_loaded(finished):
    model, images = load_model(finished / "model"), load_dataset("digits").inputs
    query = np.load(finished / "split.npz")["query"]
    np.testing.assert_array_equal(encode(model, images[query]), load_codes(finished / "codes/query.npy", 16))
    chosen = encode(model, images[query], bits=4, selector="greedy")
    np.testing.assert_array_equal(chosen, encode(model, images[query])[:, model.selections[4]["greedy"]])


# drlhash is run by test_main.py, and a method that keeps codes by test_frozen_codes.py.
@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("method", ["csq", "adsh"])
def test_other_methods_run(method, tmp_path):
    arguments = [argument.replace("lsh", method) for argument in LSH]
    run(*arguments, f"--workdir={tmp_path / 'run'}", "--config.train_direct=False", "--config.adsh.num_samples=40")
    assert {row["method"] for row in rows_of(tmp_path / "run")} == {method}
    held_out = json.loads((tmp_path / "run/selection.json").read_text())["reward"]
    assert held_out["codes"] == {"csq": "crossfit", "adsh": "holdout"}[method]
    if method == "adsh":
        # Three tenths of 100 training rows, half of them as queries.
        assert (held_out["queries"], held_out["database"]) == (15, 15)
