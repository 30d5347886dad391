"""``compare`` from the command line: two methods on digits, stopped and gone on with, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
from drlhash_jax.comparison.settings import comparison_config
from drlhash_jax.config import default_config

def get_config():
    base = default_config()
    base.data.query, base.data.train = 5, 12
    base.data.unseen_classes = 3
    base.encoder.name, base.encoder.options = "compact", {"width": 8}
    base.training.num_epochs, base.training.optimizer = 1, "adam"
    base.csq.quantisation_weight = 0.1
    base.checkpoint_seconds = 0.0
    config = comparison_config(base)
    config.compare.update({"methods": ("lsh", "csq"), "bits": (4, 8), "seeds": (0, 1), "reference": "lsh"})
    config.compare.update({"num_settings": 2, "search_bits": 8, "unseen": "unseen"})
    config.trainings = {"fast": {"learning_rate": 3e-3, "head_learning_rate": 3e-3}}
    return config
"""


def start(*arguments):
    command = [sys.executable, "-m", "drlhash_jax.main", "compare", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, **pipes)


def run(*arguments):
    process = start(*arguments)
    out, errors = process.communicate(timeout=600)
    return process.returncode, out, errors


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare") / "small.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(config):
    """A comparison that was stopped as soon as a run had begun, and then finished by the same command."""
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
    return folder


@pytest.mark.slow
def test_every_method_length_and_seed_in_both_tables(finished):
    summary = json.loads((finished / "comparison.json").read_text())
    assert [(row["table"], row["name"], row["bits"]) for row in summary["rows"]] == [
        (table, name, bits) for name in ("lsh", "csq") for table in ("seen", "unseen") for bits in (4, 8)
    ]
    assert {row["protocol"] for row in summary["rows"]} == {"balanced-5-12-rest", "unseen-3-5-12-rest"}
    assert all("difference_interval" in row for row in summary["rows"] if row["name"] == "csq")
    tried = summary["settings"]["csq"]["tried"]
    assert len(tried) == 2 and tried[0]["map"] >= tried[1]["map"]
    assert summary["settings"]["csq"]["chosen"] == tried[0]["settings"] and summary["failed"] == {}
    # The search looked at training rows alone.
    search = json.loads((finished / "search/csq/0/run.json").read_text())
    assert search["split"]["protocol"] == "balanced-5-12-rest-validation"
    assert search["rows"] == {"query": 12, "train": 84, "database": 24}


@pytest.mark.slow
def test_again_it_is_finished_at_once_and_other_settings_are_refused(finished, config):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("metrics.json")}
    code, _, errors = run(f"--config={config}", f"--workdir={finished}")
    assert code == 0 and "3 of 3 are finished already" in errors
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("metrics.json")} == before
    code, _, errors = run(f"--config={config}", f"--workdir={finished}", "--config.compare.bits=4")
    assert code == 1 and "holds another comparison: compare.bits was [4, 8], now [4]" in errors


@pytest.mark.slow
def test_a_method_that_fails_is_named_and_the_others_go_on(config, tmp_path):
    folder = tmp_path / "out"
    one = (
        "--config.compare.seeds=0",
        "--config.compare.bits=4",
        "--config.compare.unseen=",
        "--config.compare.num_settings=1",
    )
    code, out, errors = run(
        f"--config={config}",
        f"--workdir={folder}",
        *one,
        "--config.base.csq.quantisation_weight=1e6",
        "--config.base.training.learning_rate=1e6",
        "--config.base.training.optimizer=sgd",
    )
    assert code == 0, errors
    assert "csq: not compared: loss is" in errors
    assert "csq" in json.loads((folder / "comparison.json").read_text())["failed"]


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
