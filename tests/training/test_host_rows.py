"""Rows that are too large for the devices come in batches from their file: the same bits, within little memory."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from trainings import fit_encoder

from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.training import Phase, TrainingSettings, place_rows, run_phase
from drlhash_jax.training.feeds import HostFeed

SETTINGS = TrainingSettings(
    num_epochs=3, batch_size=8, optimizer="adam", learning_rate=1e-2, head_learning_rate=1e-2, max_shift=1
)


def case(kind):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (50, 4)).astype(np.uint8)
    if kind == "images":
        return make_encoder("compact", 4, width=8), rng.integers(0, 256, (50, 10, 10, 1)).astype(np.uint8), targets
    return make_encoder("mlp", 4, hidden=(8,)), rng.normal(size=(50, 6)).astype(np.float16), targets


def check_bits(kind, folder):
    encoder, inputs, targets = case(kind)
    np.save(folder / "rows.npy", inputs)
    mapped = np.load(folder / "rows.npy", mmap_mode="r")
    spec = fit_input_spec(inputs)
    found = []
    for rows, mib in ((inputs, 1), (mapped, 0)):
        losses = []
        settings = SETTINGS.replace(resident_mib=mib)
        report = lambda epoch, loss, losses=losses: losses.append(loss)
        # Batches of 8 do not divide 47 rows; an epoch of images is one look of six steps.
        params = fit_encoder(jax.random.key(0), encoder, rows, targets, np.arange(3, 50), spec, settings, report)
        found.append((params, losses))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_features_in_a_file_give_the_same_bits(tmp_path):
    check_bits("features", tmp_path)


def test_images_in_a_file_give_the_same_bits(tmp_path):
    """In a process that compiles as users do: without fused loops, the two programs round pixels differently."""
    check = (
        f"from pathlib import Path; import test_host_rows; test_host_rows.check_bits('images', Path({str(tmp_path)!r}))"
    )
    folders = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": folders}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", check], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_next_batches_are_read_meanwhile():
    """While a batch is computed, the one after it is read, and no other; nobody has asked for it yet."""

    class Watched:
        shape, dtype = (40, 3), np.dtype(np.float32)

        def __init__(self):
            self.read = [threading.Event() for _ in range(10)]

        def __getitem__(self, rows):
            self.read[rows[0] // 4].set()
            return np.zeros((len(rows), 3), np.float32)

    inputs = Watched()
    rows = place_rows(inputs, np.zeros(40, np.int32), None, resident_bytes=0)
    assert rows.streamed
    sizes = type("Sizes", (), {"chunk": 1, "num_batches": 10, "num_steps": 10, "next_stop": lambda self, at: at + 1})()
    order = np.arange(40, dtype=np.int32).reshape(10, 4), np.ones((10, 4), np.float32)
    feed = HostFeed(rows, np.arange(40, dtype=np.int32), lambda epoch: order, sizes)
    for position in range(10):
        chunk = feed.chunk(position)
        assert chunk.picked[0].tolist() == list(range(4 * position, 4 * position + 4)) and chunk.first == position
        if position < 9:
            assert inputs.read[position + 1].wait(timeout=30)
        assert not any(event.is_set() for event in inputs.read[position + 2 :])
    # The first batch at least was waited for; a look at the share starts again.
    assert feed.waited > 0 and 0 < feed.waiting <= 1 and feed.waited == 0
    feed.close()


def test_a_phase_without_batches_needs_rows_on_the_device():
    rows = place_rows(np.zeros((4, 2), np.float32), np.zeros(4, np.int32), None, resident_bytes=0)
    phase = Phase("all", 1, 0, lambda key, start: None)
    with pytest.raises(ValueError, match="all rows at once"):
        run_phase(jax.random.key(0), phase, rows)


WORKER = """
import sys
from pathlib import Path
import jax, numpy as np
sys.path.insert(0, "tests")
from trainings import fit_encoder
from drlhash_jax.encoders import InputSpec, make_encoder
from drlhash_jax.training import TrainingSettings

def anonymous():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) // 1024

def train(rows):
    inputs = np.load(sys.argv[1], mmap_mode="r")[:rows]
    spec = InputSpec(np.zeros(1280, np.float32), np.ones(1280, np.float32), "features")
    settings = TrainingSettings(num_epochs=1, batch_size=256, resident_mib=0)
    fit_encoder(jax.random.key(0), make_encoder("mlp", 8, hidden=(4,)), inputs,
                np.zeros((rows, 8), np.uint8), np.arange(rows), spec, settings)

train(512)
before = anonymous()
train(120_000)
print(anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """293 MiB of embeddings, in a file that takes no space, train within two chunks of 64 MiB and their copies."""
    features = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (120_000, 1280))
    features.flush()
    command = [sys.executable, "-c", WORKER, str(tmp_path / "x.npy")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 280
