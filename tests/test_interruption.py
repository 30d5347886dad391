"""Runs that are killed or told to stop, at random moments of every stage, end as if nothing had happened."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import ROOT, SHORT_RUN, run_command

ARGUMENTS = [*SHORT_RUN, "--config.checkpoint_seconds=0"]
SIGKILL = -signal.SIGKILL


@pytest.fixture(scope="module")
def environment():
    """Compiled programs are kept, see conftest.py: most of a short run is compilation."""
    return os.environ | {"JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folder of a run that nothing happened to; a second one with compiled programs tells how long stages take."""
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp("runs") / name
        assert run_command(*ARGUMENTS, f"--workdir={folder}", devices=1).returncode == 0
    return folder


def start(folder, environment, **options):
    command = [sys.executable, "-m", "drlhash_jax.main", *ARGUMENTS, f"--workdir={folder}"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **options)


def without_seconds(value):
    if isinstance(value, dict):
        return {key: without_seconds(each) for key, each in value.items() if key != "seconds"}
    return [without_seconds(each) for each in value] if isinstance(value, list) else value


def contents(folder):
    """Everything that a run leaves but clocks and provenance: name -> arrays, bytes or values."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".npz":
            arrays = np.load(path)
            found |= {f"{name}:{key}": arrays[key].tobytes() for key in arrays.files}
        elif path.name in ("metrics.json", "selection.json"):
            found[name] = without_seconds(json.loads(path.read_text()))
        elif path.is_file() and path.name not in ("run.json", ".lock"):
            found[name] = path.read_bytes()
    return found


def assert_same(folder, expected):
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.slow
def test_killed_at_random_moments(uninterrupted, environment, tmp_path, request):
    num_kills = request.config.getoption("kills")
    expected = contents(uninterrupted)
    stages = {
        name: each["seconds"] for name, each in json.loads((uninterrupted / "run.json").read_text())["stages"].items()
    }
    assert {name.split("_")[0] for name in stages} == {"target", "encoder", "crossfit", "selection"}
    worker = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/interruption_worker.py")],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    draw = random.Random(0)
    kills, num_runs, in_stage = 0, 0, dict.fromkeys(stages, 0)
    pending = list(stages)
    while kills < num_kills or num_runs == 0:
        folder = tmp_path / str(num_runs)
        # The stages take turns until there were enough kills; then the run goes on to its end.
        stage = pending[0] if kills < num_kills else ""
        delay = draw.uniform(0, stages.get(stage, 0))
        worker.stdin.write(json.dumps([stage, delay, [*ARGUMENTS, f"--workdir={folder}"]]) + "\n")
        worker.stdin.flush()
        status = int(worker.stdout.readline())
        assert status in (0, SIGKILL)
        if status == SIGKILL:
            kills, in_stage[stage] = kills + 1, in_stage[stage] + 1
            pending.append(pending.pop(0))
        else:
            assert_same(folder, expected)
            num_runs += 1
            pending.append(pending.pop(0))
    worker.stdin.close()
    worker.wait()
    assert sum(count > 0 for count in in_stage.values()) >= min(num_kills, len(stages)) - 1, in_stage


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGTERM, "encoder_016"),
        pytest.param(signal.SIGINT, "target_codes_016", marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGUSR1, "selection_004_ppo", marks=pytest.mark.exhaustive),
    ],
)
def test_told_to_stop(number, stage, uninterrupted, environment, tmp_path):
    folder = tmp_path / "run"
    process = start(folder, environment)
    wait_for((folder / "checkpoints" / stage).is_dir, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors
    assert f"{number.name}: stopped in stage " in errors and "run the same command again" in errors
    assert not (folder / "metrics.json").exists() and not (folder / ".writer.json").exists()
    assert run_command(*ARGUMENTS, f"--workdir={folder}", devices=1).returncode == 0
    assert_same(folder, contents(uninterrupted))


@pytest.mark.slow
def test_a_second_writer_is_refused(environment, tmp_path):
    folder = tmp_path / "run"
    first = start(folder, environment)
    wait_for((folder / "run.json").is_file, first)
    second = start(folder, environment)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 1
    assert errors.splitlines()[-1].startswith("drlhash_jax: ") and f"process {first.pid} on " in errors
    first.kill()
    first.wait()


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    folder = tmp_path / "run"
    diverging = [
        "--config.training.optimizer=sgd",
        "--config.training.learning_rate=1e6",
        "--config.training.head_learning_rate=1e6",
        "--config.training.weight_decay=1000",
    ]
    done = run_command(*ARGUMENTS, *diverging, f"--workdir={folder}", devices=1)
    assert done.returncode == 2
    assert re.search(r"stage encoder_016: loss is (inf|nan) at step \d \(epoch 1, batch \d\)", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    # The state after epoch 0 is the last good one, and stays.
    assert len(list((folder / "checkpoints/encoder_016").glob("*.npz"))) == 1
    assert not (folder / "checkpoints/encoder_016.npz").exists()
    assert (folder / "checkpoints/target_codes_016.npz").exists()
