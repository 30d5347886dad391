"""Exit codes of the program: what a command raises becomes one line and a code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The program with another pipeline, which does one thing.
PROGRAM = """
import sys, types
from drlhash_jax.errors import RunStoppedError, UserError
pipeline = types.ModuleType("drlhash_jax.pipeline")
def train_and_evaluate(config, workdir, stop_requested):
    assert stop_requested() is None
    {action}
pipeline.train_and_evaluate = train_and_evaluate
sys.modules["drlhash_jax.pipeline"] = pipeline
from drlhash_jax import main
main.run()
"""
OUTCOMES = {
    "done": ("return []", 0, ""),
    "wrong input": ("raise UserError('labels.npy:\\n  no labels')", 1, "drlhash_jax: labels.npy: no labels\n"),
    "failure": ("raise FloatingPointError('loss is nan')", 2, "loss is nan\n"),
    "stopped": (
        "raise RunStoppedError('SIGTERM: stopped in stage x')",
        75,
        "drlhash_jax: SIGTERM: stopped in stage x\n",
    ),
}


def run(action, tmp_path, *arguments):
    config = tmp_path / "mine.py"
    config.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    return ConfigDict({'selectors': ('ppo', 'greedy'), 'seed': 0})\n"
    )
    (tmp_path / "out").mkdir()
    command = [
        sys.executable,
        "-c",
        PROGRAM.format(action=action),
        f"--config={config}",
        f"--workdir={tmp_path / 'out'}",
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT, env=os.environ)


@pytest.mark.parametrize("action, code, errors", [pytest.param(*case, id=name) for name, case in OUTCOMES.items()])
def test_exit_codes(action, code, errors, tmp_path):
    done = run(action, tmp_path)
    assert done.returncode == code and done.stderr.endswith(errors), done.stderr
    assert "Traceback" not in done.stderr


def test_the_pipeline_gets_the_configuration_with_its_overrides(tmp_path):
    action = "print(config.seed, config.selectors, workdir); return []"
    done = run(action, tmp_path, "--config.seed=3", "--config.selectors=random,first")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"3 ('random', 'first') {tmp_path / 'out'}\n")


def test_values_of_another_type_are_one_line(tmp_path):
    done = run("return []", tmp_path, "--config.seed=many")
    assert done.returncode == 1
    assert done.stderr.startswith("drlhash_jax: flag --config.seed=many: ") and done.stderr.count("\n") == 1
