"""Several processes: who they are, which GPUs are theirs, and what is said while they wait for each other."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drlhash_jax.commands import processes
from drlhash_jax.commands.processes import Told
from drlhash_jax.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, False),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "1"}, False),  # a batch script without srun
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
    ],
)
def test_launchers_are_recognised(environment, expected):
    assert processes.one_of_several(environment) is expected


def slurm(number, gpus, tasks="4(x2)", node=0):
    visible = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
    return {"SLURM_LOCALID": str(number), "SLURM_NODEID": str(node), "SLURM_STEP_TASKS_PER_NODE": tasks} | visible


@pytest.mark.parametrize(
    "environment, expected",
    [
        # --gpus-per-task=1: every task sees its own GPU, and sees it as number 0.
        (slurm(0, "0"), [0]),
        (slurm(3, "0"), [0]),
        (slurm(3, "3"), [0]),
        (slurm(2, "GPU-8f1b"), [0]),
        # Every task sees the GPUs of the node.
        (slurm(3, "0,1,2,3"), [3]),
        (slurm(1, "0,1,2,3", tasks="2"), [2, 3]),
        (slurm(0, "0,1,2,3", tasks="1(x2)", node=1), [0, 1, 2, 3]),
        (slurm(1, "0,1,2,3", tasks="4,2", node=1), [2, 3]),
        (slurm(0, "0,1,2,3", tasks="2(x2),4", node=2), [0]),
        # Not to be shared equally, or not told: JAX decides.
        (slurm(0, "0,1,2", tasks="2"), None),
        (slurm(0, "0,1", tasks="4"), None),
        (slurm(0, None), None),
        (slurm(0, ""), None),
        (slurm(0, "NoDevFiles"), None),
        (slurm(0, "0", tasks="many"), None),
        (slurm(0, "0,1", tasks="2", node=1), None),
        ({"CUDA_VISIBLE_DEVICES": "0"}, None),
        ({}, None),
        # Other launchers and other GPUs.
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, [1]),
        (slurm(1, None, tasks="2") | {"ROCR_VISIBLE_DEVICES": "0,1"}, [1]),
    ],
)
def test_local_devices(environment, expected):
    assert processes.local_devices(environment) == expected


MISTAKES = {
    "half": (Told("127.0.0.1:9"), "give all three or none"),
    "beyond": (Told("127.0.0.1:9", 2, 2), "--process_id=2: must be below --num_processes=2"),
    "no port": (Told("somewhere", 2, 1), "--coordinator=somewhere: give HOST:PORT"),
}


@pytest.mark.parametrize("told, message", [pytest.param(*case, id=name) for name, case in MISTAKES.items()])
def test_contradicting_flags(told, message):
    with pytest.raises(UserError, match=message):
        processes.join_processes(told, "auto", {})


def test_one_process_joins_nobody():
    processes.join_processes(Told(), "auto", {})
    processes.join_processes(Told("127.0.0.1:9", 2, 1), "off", {})


AWAITED = {
    "told": (Told("host:9", 4, 2), {}, "process 2 of 4 waits for process 0 at host:9"),
    "coordinator": (Told("host:9", 4, 0), {}, "process 0 of 4 waits at host:9 for the other processes"),
    "slurm": (
        Told(),
        {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NODELIST": "n[1-2]"},
        "process 3 of 8 waits for the other processes on n[1-2]",
    ),
    "tpu": (Told(), {"TPU_WORKER_HOSTNAMES": "a,b"}, "this process waits for the other processes on a,b"),
}


@pytest.mark.parametrize("told, environment, text", [pytest.param(*case, id=name) for name, case in AWAITED.items()])
def test_what_is_waited_for(told, environment, text):
    assert processes._awaited(told, environment) == text


def test_a_call_that_takes_long_is_announced_once_and_waited_for(capsys):
    done = []
    processes.call_patiently(lambda: (time.sleep(0.3), done.append(1)), "waiting for x", interval=0.02, limit=30)
    assert done == [1] and capsys.readouterr().err == "drlhash_jax: waiting for x\n"


def test_a_quick_call_is_not_announced_and_its_error_is_raised(capsys):
    processes.call_patiently(lambda: None, "waiting for x", interval=30, limit=60)
    with pytest.raises(RuntimeError, match="refused"):
        processes.call_patiently(lambda: exec("raise RuntimeError('refused')"), "x", interval=30, limit=60)
    assert capsys.readouterr().err == ""


def test_a_coordinator_that_is_nowhere_is_named_and_given_up():
    program = (
        "import os\nfrom drlhash_jax.commands.processes import Told, join_processes\n"
        "from drlhash_jax.errors import UserError\n"
        "try:\n    join_processes(Told('127.0.0.1:9', 2, 1), 'auto', os.environ, interval=0.2, limit=1.5)\n"
        "except UserError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "drlhash_jax: process 1 of 2 waits for process 0 at 127.0.0.1:9\n" in done.stderr
    assert done.stdout.startswith("process 1 of 2 waits for process 0 at 127.0.0.1:9: given up after 1.5 seconds")
