"""The same results on 1, 2 and 4 devices: raw gradients and single steps, since loss curves hide wrong scales."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = Path(__file__).parent / "parallel_worker.py"
WRONG = "shard_map:without_vary", "pmap:without_differentiable_total", "shard_map:with_own_cotangent"
PROGRAMS = {
    1: tuple(f"{wrapper}:{body}" for wrapper in ("jit", "shard_map", "pmap") for body in ("everything", "images")),
    2: ("shard_map:everything",),
    4: ("shard_map:everything", "pmap:everything", *WRONG),
}
# Sums over devices round differently; anything wrong is off by a factor.
TOLERANCE = 1e-6
NUMBERS_OF_DEVICES = [(2, "shard_map"), (4, "shard_map"), (4, "pmap")]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Number of devices -> program -> name -> array."""
    folder = tmp_path_factory.mktemp("parallel")
    workers = {}
    for number, programs in PROGRAMS.items():
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(number), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, str(WORKER), str(folder / f"{number}.npz"), ",".join(programs)]
        workers[number] = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    found = {}
    for number, worker in workers.items():
        _, errors = worker.communicate()
        assert worker.returncode == 0, errors
        arrays = np.load(folder / f"{number}.npz")
        assert arrays["num_devices"] == number
        found[number] = {program: {} for program in PROGRAMS[number]}
        for key in arrays.files:
            if key != "num_devices":
                program, name = key.split("/")
                found[number][program][name] = arrays[key]
    return found


def relative_difference(a, b):
    """Largest difference of the entries in the unit of the largest entry."""
    return np.abs(a.astype(np.float64) - b).max() / np.abs(a).max()


@pytest.mark.slow
@pytest.mark.parametrize("body", ["everything", "images"])
@pytest.mark.parametrize("wrapper", ["shard_map", "pmap"])
def test_one_device_is_the_plain_program_bit_for_bit(results, wrapper, body):
    for name, value in results[1][f"jit:{body}"].items():
        np.testing.assert_array_equal(results[1][f"{wrapper}:{body}"][name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "wrapper"), NUMBERS_OF_DEVICES)
def test_more_devices_agree(results, wrapper, number):
    plain = results[1]["jit:everything"]
    assert results[number][f"{wrapper}:everything"].keys() == plain.keys() and len(plain) == 25
    for name, value in results[number][f"{wrapper}:everything"].items():
        assert relative_difference(plain[name], value) < TOLERANCE, name
    # Nothing is rounded in what was drawn or counted.
    for name in ("episodes actions", "episodes rewards", "stage 2 views", "evaluation counts"):
        np.testing.assert_array_equal(results[number][f"{wrapper}:everything"][name], plain[name], err_msg=name)


@pytest.mark.slow
def test_wrong_bodies_are_noticed(results):
    """Four devices: the gradients are four times too large, and the loss says nothing."""
    plain = results[1]["jit:everything"]
    unmarked = results[4][WRONG[0]]
    assert relative_difference(plain["stage 2 loss"], unmarked["stage 2 loss"]) < TOLERANCE
    for name in ("stage 2 gradient", "stage 2 step"):
        assert relative_difference(plain[name], unmarked[name]) > 1000 * TOLERANCE, name
    np.testing.assert_allclose(unmarked["stage 2 gradient"], 4 * plain["stage 2 gradient"], rtol=1e-4, atol=1e-7)
    built_in = results[4][WRONG[1]]
    assert relative_difference(plain["stage 1 exact loss"], built_in["stage 1 exact loss"]) < TOLERANCE
    assert relative_difference(plain["stage 1 exact gradient"], built_in["stage 1 exact gradient"]) > 1
    own_only = results[4][WRONG[2]]
    assert relative_difference(plain["pairs loss"], own_only["pairs loss"]) < TOLERANCE
    assert relative_difference(plain["pairs gradient"], own_only["pairs gradient"]) > 0.1
