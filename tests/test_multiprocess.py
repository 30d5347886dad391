"""Two processes of two devices each, over gloo on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
WORKER = ROOT / "tests/parallel_worker.py"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def finish(processes):
    """Waits for all of them; one that fails must not leave the others waiting."""
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in outputs]


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    joined = [str(tmp_path / "two.npz"), "shard_map:stage_2,pmap:stage_2", f"127.0.0.1:{free_port()}", "2"]
    commands = [[*joined, "0"], [*joined, "1"], [str(tmp_path / "one.npz"), "jit:stage_2"]]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), *command],
            env=environment | {"JAX_NUM_CPU_DEVICES": "2" if len(command) > 2 else "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    finish(processes)
    two, one = np.load(tmp_path / "two.npz"), np.load(tmp_path / "one.npz")
    assert two["num_devices"] == 4
    for wrapper in ("shard_map", "pmap"):
        for name in ("loss", "gradient", "step", "views"):
            expected, found = one[f"jit:stage_2/stage 2 {name}"], two[f"{wrapper}:stage_2/stage 2 {name}"]
            assert np.abs(expected.astype(np.float64) - found).max() < 1e-6 * np.abs(expected).max(), name


@pytest.mark.slow
def test_two_processes_share_a_run(tmp_path):
    """The launch script: both processes end well, one of them writes, and what it writes is what one process finds."""
    short = [
        *("--config=configs/smoke.py", "--config.last_stage=encoder", "--config.training.num_epochs=1"),
        *("--config.target_codes.num_epochs=5", "--config.train_direct=False"),
    ]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHON": sys.executable}
    run = lambda command, folder, **more: subprocess.Popen(
        [*command, *short, f"--workdir={tmp_path / folder}"],
        cwd=ROOT,
        env=environment | {"JAX_NUM_CPU_DEVICES": "1"} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    several = run(["bash", "launch/local_multiprocess.sh", "2"], "two", PORT=str(free_port()))
    single = run([sys.executable, "-m", "drlhash_jax.main"], "one")
    printed, _ = finish([several, single])
    assert printed.count("written:") == 1
    assert len(json.loads((tmp_path / "two/run.json").read_text())["sessions"][-1]["devices"]) == 2
    rows = [json.loads((tmp_path / folder / "metrics.json").read_text())["results"] for folder in ("one", "two")]
    assert rows[0][0]["map"] == pytest.approx(rows[1][0]["map"], abs=0.01)
    # Again: the second process has no file to read, and is told by the first that all is done.
    again = run(["bash", "launch/local_multiprocess.sh", "2"], "two", PORT=str(free_port()))
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "done in" not in errors


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path):
    arguments = [
        *("--config=configs/smoke.py", "--config.last_stage=encoder", "--config.training.num_epochs=200"),
        *("--config.target_codes.num_epochs=5", "--config.checkpoint_seconds=0", f"--workdir={tmp_path / 'run'}"),
    ]

    def start():
        port = free_port()
        processes = []
        for number in range(2):
            told = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={number}"]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "drlhash_jax.main", *arguments, *told],
                    cwd=ROOT,
                    env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        return processes

    positions = lambda: sorted(int(path.stem) for path in (tmp_path / "run/checkpoints/encoder_016").glob("*.json"))
    first = start()
    while not positions():
        assert all(process.poll() is None for process in first)
        time.sleep(0.05)
    first[1].send_signal(signal.SIGTERM)
    errors = [process.communicate(timeout=120)[1] for process in first]
    assert [process.returncode for process in first] == [75, 75], errors
    assert "a signal to another process: stopped in stage encoder_016" in errors[0]
    saved = positions()[-1]
    assert 0 < saved < 800
    # Going on, and stopped again, both begin where they were.
    second = start()
    while positions()[-1] <= saved:
        assert all(process.poll() is None for process in second)
        time.sleep(0.05)
    second[0].send_signal(signal.SIGUSR1)
    errors = [process.communicate(timeout=120)[1] for process in second]
    assert [process.returncode for process in second] == [75, 75], errors
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    epochs = [row["step"] for row in rows if row["stage"] == "encoder_016"]
    # Four batches an epoch.
    assert epochs == list(range(positions()[-1] // 4))


@pytest.mark.slow
def test_a_mistake_seen_by_one_process_ends_both(tmp_path):
    (tmp_path / "notes.txt").write_text("of somebody else")
    port = free_port()
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "drlhash_jax.main", "--config=configs/smoke.py", f"--workdir={tmp_path}"),
                *(f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={number}"),
            ],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert all("holds other files and no run" in text for text in errors)
