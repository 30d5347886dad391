"""``compare`` from the command line: two methods on digits, stopped and gone on with, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import ROOT, run_command

from drlhash_jax.comparison.rivals import RIVALS

CONFIG = """
from drlhash_jax.comparison.settings import comparison_config
from drlhash_jax.config import default_config

def get_config():
    base = default_config()
    base.data.source, base.data.path = "arrays", {path!r}
    base.data.query, base.data.train, base.data.unseen_classes = 5, 90, 3
    base.encoder.name, base.encoder.options = "mlp", {{"hidden": (8,)}}
    base.training.num_epochs, base.training.optimizer = 2, "adam"
    base.training.batch_size = 60
    base.checkpoint_seconds = 0.0
    config = comparison_config(base)
    config.compare.update({{"methods": ("lsh", "csq", "pca"), "bits": (4, 8), "seeds": (0, 1), "reference": "lsh"}})
    config.compare.update({{"num_settings": 2, "search_bits": 8, "unseen": "unseen", "unseen_bits": (4,)}})
    config.trainings = {{"fast": {{"learning_rate": 3e-3, "head_learning_rate": 3e-3}}}}
    return config
"""


def start(*arguments):
    command = [sys.executable, "-m", "drlhash_jax.main", "compare", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, **pipes)


def run(*arguments):
    done = run_command("compare", *arguments, devices=1)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Six blobs of eight numbers a row."""
    folder, rng = tmp_path_factory.mktemp("compare"), np.random.default_rng(0)
    labels = np.arange(600) % 6
    features = (2 * rng.normal(size=(6, 8))[labels] + rng.normal(size=(600, 8))).astype(np.float32)
    np.savez(folder / "blobs.npz", features=features, labels=labels)
    path = folder / "small.py"
    path.write_text(CONFIG.format(path=str(folder / "blobs.npz")))
    return path


@pytest.mark.slow
def test_stopped_and_gone_on_with_and_finished_at_once(config):
    folder = config.parent / "out"
    arguments = f"--config={config}", f"--workdir={folder}", "--jobs=2"
    process = start(*arguments)
    deadline = time.monotonic() + 200
    while not list(folder.glob("search/csq/0/config.json")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 75 and "stopped by SIGTERM: run the same command again to go on" in errors
    code, out, errors = run(*arguments)
    assert code == 0, errors
    assert "comparison.html" in out and "csq: " in errors
    check_summary(json.loads((folder / "comparison.json").read_text()))
    # The search looked at training rows alone.
    search = json.loads((folder / "search/csq/0/run.json").read_text())
    assert search["split"]["protocol"] == "balanced-5-90-rest-validation"
    assert search["rows"] == {"query": 54, "train": 378, "database": 108}

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")}
    code, _, errors = run(*arguments)
    assert code == 0 and "4 of 4 are finished already" in errors
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.json")} == before
    code, _, errors = run(*arguments, "--config.compare.bits=4")
    assert code == 1 and "holds another comparison: compare.bits was [4, 8], now [4]" in errors


def check_summary(summary):
    """Every method, length and seed in both tables, and the rivals beside them."""
    assert [(row["table"], row["name"], row["bits"]) for row in summary["rows"] if row["kind"] == "method"] == [
        each for name in ("lsh", "csq", "pca") for each in (("seen", name, 4), ("seen", name, 8), ("unseen", name, 4))
    ]
    assert {row["protocol"] for row in summary["rows"]} == {"balanced-5-90-rest", "unseen-3-5-90-rest"}
    assert all("difference_interval" in row for row in summary["rows"] if row["name"] == "csq")
    rivals = [row for row in summary["rows"] if row["kind"] == "rival"]
    assert {row["name"] for row in rivals} == set(RIVALS) and all(row["num_seeds"] == 2 for row in rivals)
    # Blobs: whoever learns labels finds the classes that were labelled, and nobody is at chance.
    assert all(row["map"]["real"] > 0.9 for row in rivals if row["learns_labels"] and row["table"] == "seen")
    tried = summary["settings"]["csq"]["tried"]
    assert len(tried) == 2 and tried[0]["map"] >= tried[1]["map"]
    assert summary["settings"]["csq"]["chosen"] == tried[0]["settings"] and summary["failed"] == {}


@pytest.mark.slow
def test_a_method_that_does_not_fit_is_named_and_the_others_go_on(config, tmp_path):
    folder = tmp_path / "out"
    one = (
        "--config.compare.seeds=0",
        "--config.compare.bits=16",
        "--config.compare.unseen=",
        "--config.compare.num_settings=1",
    )
    arguments = *one, "--config.compare.methods=pca,lsh", "--config.compare.rivals=False"
    code, _, errors = run(f"--config={config}", f"--workdir={folder}", *arguments)
    assert code == 0, errors
    assert "pca: not compared: method=pca: 16 bits" in errors and "lsh: 0." in errors
    summary = json.loads((folder / "comparison.json").read_text())
    assert list(summary["failed"]) == ["pca"] and [row["name"] for row in summary["rows"]] == ["lsh"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "compare needs --workdir=DIR"),
        (["--workdir=x", "--config=configs/digits.py"], "has no section base, compare, methods, trainings"),
        (["--workdir=x", "--config.compare.methods=lhs"], "compare.methods=lhs: choose among"),
        (["--workdir=x", "--config.base.data.protocol=C-54"], "protocol C-54"),
        (["--workdir=tests"], "--workdir=tests holds other files and no comparison"),
        (["--workdir=x", "--jobs=0"], "jobs"),
    ],
)
def test_one_line_for_what_cannot_work(arguments, message):
    code, _, errors = run(*arguments)
    lines = [line for line in errors.splitlines() if line.startswith("drlhash_jax")]
    assert code == 1 and len(lines) == 1 and message in lines[0], errors
    assert not (ROOT / "x").exists() and not list((ROOT / "tests").glob(".*.json"))
    assert not (ROOT / "tests/.lock").exists()
