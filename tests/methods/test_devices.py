"""One step of every method on 1, 2 and 4 devices changes the same parameters by the same amounts: raw gradients."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from method_toys import SPANNING

from drlhash_jax.methods import METHODS

WORKER = Path(__file__).parent / "devices_worker.py"
PROGRAMS = {1: "jit", 2: "shard_map,pmap", 4: "shard_map"}
# With 2 devices the methods that span the interface; all of them with 4, and by --exhaustive.
CASES = [
    pytest.param(
        name,
        number,
        wrapper,
        marks=pytest.mark.exhaustive if (number, wrapper) == (2, "shard_map") and name not in SPANNING else (),
    )
    for number, wrapper in ((2, "shard_map"), (2, "pmap"), (4, "shard_map"))
    for name in (SPANNING if wrapper == "pmap" else METHODS)
]
# Sums over devices round differently; anything wrong is off by a factor.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def results(tmp_path_factory, request):
    """Number of devices -> wrapper|method|path -> array."""
    folder, workers = tmp_path_factory.mktemp("methods"), {}
    for number, wrappers in PROGRAMS.items():
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(number), "JAX_PLATFORMS": "cpu"}
        environment["PYTHONPATH"] = os.pathsep.join([str(WORKER.parents[2]), *sys.path])
        few = number == 2 and not request.config.getoption("--exhaustive")
        names = ",".join(SPANNING if few else METHODS)
        command = [sys.executable, str(WORKER), str(folder / f"{number}.npz"), wrappers, names]
        workers[number] = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    found = {}
    for number, worker in workers.items():
        _, errors = worker.communicate()
        assert worker.returncode == 0, errors
        found[number] = dict(np.load(folder / f"{number}.npz"))
        assert found[number]["num_devices"] == number
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number", "wrapper"), CASES)
def test_more_devices_agree(results, name, number, wrapper):
    plain = {key: value for key, value in results[1].items() if key.startswith(f"jit|{name}|")}
    assert plain
    for key, expected in plain.items():
        value = results[number][key.replace("jit", wrapper, 1)]
        assert value.shape == expected.shape
        scale = max(np.abs(expected).max(initial=0), 1e-12)
        difference = np.abs(value.astype(np.float64) - expected).max(initial=0) / scale
        assert difference < TOLERANCE, (key, difference)
