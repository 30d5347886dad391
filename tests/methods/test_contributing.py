"""The method that CONTRIBUTING shows, taken from its text: trained here, on devices, and from the command line."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.methods import Ingredients
from drlhash_jax.parallel import find_devices
from drlhash_jax.retrieval import mean_average_precision
from drlhash_jax.training import TrainingSettings, encode_codes, fit, place_rows

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SOURCE, ROW = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[:2]

COMMAND = """
import sys
sys.path.insert(0, {folder!r})
import pairs
from drlhash_jax.methods import METHODS, MethodSpec
METHODS.update({{{row}}})
from drlhash_jax.main import run
run()
"""


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.py").write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("pairs", tmp_path / "pairs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["pairs"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pairs"]


def test_it_is_short():
    assert len(SOURCE.splitlines()) <= 42


def test_it_learns_a_toy(pairs):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    centres = 2 * rng.normal(size=(3, 8))
    inputs, queries = ((centres[labels] + rng.normal(size=(120, 8))).astype(np.float32) for _ in range(2))
    settings = TrainingSettings(
        num_epochs=20, batch_size=40, optimizer="adam", learning_rate=1e-2, head_learning_rate=1e-2
    )
    method = pairs.make(Ingredients(12, make_encoder("mlp", 12, hidden=(16,)), settings, pairs.PairsSettings()))
    spec = fit_input_spec(inputs)
    found = [
        fit(method.phases, place_rows(inputs, labels, spec, devices=devices), lambda name: jax.random.key(0))
        for devices in (None, find_devices())
    ]
    codes = [encode_codes(method.logits, found[0]["params"], each, spec) for each in (queries, inputs)]
    assert mean_average_precision(*codes, labels, labels) > 0.95
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.slow
def test_it_runs_from_the_command_line(pairs, tmp_path):
    arguments = [
        *("--config=configs/smoke.py", "--config.method=pairs", "--config.pairs.quantisation_weight=0.2"),
        *("--config.train_direct=False", "--config.bits=4", "--config.selectors=greedy"),
        f"--workdir={tmp_path / 'run'}",
    ]
    command = COMMAND.format(folder=str(tmp_path), row=ROW.strip().rstrip(","))
    done = subprocess.run(
        [sys.executable, "-c", command, *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run/metrics.json").read_text())["results"]
    assert {row["method"] for row in rows} == {"pairs"} and len(rows) == 2
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["pairs"] == {"quantisation_weight": 0.2}
