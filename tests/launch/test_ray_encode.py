"""Parts of a bundle under Ray: where actors and the program are killed, none is lost, and none but those at work is
coded twice."""

import collections
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, run_well
from small_models import FEATURES, draw_inputs, save_model

from drlhash_jax import bundles

ray = pytest.importorskip("ray", reason="needs ray: pip install -e '.[ray]'")
SHARDS, ACTORS = 12, 2


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of a model, of inputs, and of the bundle that one process makes of them."""
    folder = tmp_path_factory.mktemp("ray_encode")
    save_model(folder / "run/model")
    np.save(folder / "x.npy", draw_inputs(FEATURES, 200_000))
    run_well("encode", "--model=run", "--embeddings=x.npy", "--logits", "--bundle=whole.drlh", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """A cluster on this machine, which outlives programs that are killed: its address, and the folder of its logs."""
    size = {"num_cpus": ACTORS, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    started = ray.init(address="local", logging_level="ERROR", log_to_driver=False, **size).address_info
    yield started["gcs_address"], Path(started["session_dir"], "logs")
    ray.shutdown()


class Program:
    """The script at work on parts in a folder."""

    def __init__(self, cluster, inputs, folder):
        address, self.logs = cluster
        self.bundle = folder / "x.drlh"
        command = [sys.executable, str(ROOT / "launch/ray_encode.py"), f"--address={address}", f"--shards={SHARDS}"]
        command += [f"--model={inputs}/run", f"--embeddings={inputs}/x.npy", f"--bundle={self.bundle}", "--logits"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True)

    def begun(self):
        """(process, part) as often as actors began one, in no order."""
        lines = "".join(file.read_text() for file in self.logs.glob("worker-*.out"))
        name = f"{re.escape(str(self.bundle.with_suffix('')))}-.+"
        found = re.findall(rf"^begins in process (\d+): ({name})\n", lines, re.M)
        return [(int(process), Path(path)) for process, path in found]

    def stop_at_work(self, after):
        """Stops an actor whose part is not whole, once some parts are; its process number, and the part."""
        seen = set()
        while self.process.poll() is None:
            for process, path in set(self.begun()) - seen:
                seen.add((process, path))
                if len(bundles.find_shards(self.bundle)) >= after:
                    os.kill(process, signal.SIGSTOP)
                    if not path.exists():
                        return process, path
                    os.kill(process, signal.SIGCONT)
            time.sleep(0.005)
        raise AssertionError(f"no actor was caught at work: {self.process.communicate()}")

    def told(self):
        """What it tells of parts, if it ends well; Ray tells of its own mishaps between them."""
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        return re.findall(rf"^\d+ of {SHARDS}: .*", out, re.M)

    def check(self, place, killed):
        """Every part was coded once, the killed ones twice; joined they are what one process made."""
        counts = collections.Counter(path for _, path in self.begun())
        assert counts.keys() == {bundles.Shard(each, SHARDS).path(self.bundle) for each in range(1, SHARDS + 1)}
        assert {path for path, count in counts.items() if count > 1} <= killed and max(counts.values()) <= 2
        run_well("compact", f"--bundle={self.bundle}", cwd=place)
        assert as_bytes(self.bundle) == as_bytes(place / "whole.drlh")
        assert not list(self.bundle.parent.glob(".*"))


def as_bytes(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_an_actor_is_killed(place, cluster, tmp_path):
    program = Program(cluster, place, tmp_path)
    process, path = program.stop_at_work(after=2)
    os.kill(process, signal.SIGKILL)
    assert len(program.told()) == SHARDS
    assert [each for _, each in program.begun()].count(path) == 2
    program.check(place, {path})


def test_the_program_is_killed_and_started_again(place, cluster, tmp_path):
    program = Program(cluster, place, tmp_path)
    stopped, path = program.stop_at_work(after=2)
    program.process.kill()
    program.process.communicate()
    os.kill(stopped, signal.SIGKILL)
    whole = {each: each.stat().st_ino for each in bundles.find_shards(program.bundle)}
    at_work = {each for _, each in program.begun()} - whole.keys()
    assert path in at_work and len(at_work) <= ACTORS
    again = Program(cluster, place, tmp_path)
    assert sum("there already" in line for line in again.told()) >= len(whole)
    assert {each: each.stat().st_ino for each in whole} == whole
    again.check(place, at_work)


def test_what_is_wrong_is_one_line(place, cluster, tmp_path):
    (tmp_path / "run").mkdir()
    np.save(tmp_path / "x.npy", np.zeros((3, 8)))
    program = Program(cluster, tmp_path, tmp_path)
    out, err = program.process.communicate()
    # Ray may add a line of its own before it.
    assert program.process.returncode == 1 and out == "", out
    assert re.fullmatch("ray_encode: .*run has no model.json: .*", err.splitlines()[-1]), err
