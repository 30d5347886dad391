"""Training on rows that stay in their file: memory beyond the map, seconds per epoch, and the share of waiting.

    python -m benchmarks.streaming [--features=1000000] [--images=200000]

The files are sparse, so that they take no space; reading them costs what reading pages of zeros costs. Embeddings are
float16 ``[N, 1280]``, images uint8 ``[N, 256, 256, 3]``, which the encoder sees at 32 pixels. The first line of each
kind compares rows on the device with rows from the host, on as many as fit.
"""

import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from benchmarks.timing import describe_machine
from drlhash_jax.encoders import InputSpec, make_encoder
from drlhash_jax.methods import METHODS, Ingredients
from drlhash_jax.training import TrainingSettings, place_rows, run_phase

_FEATURES = flags.DEFINE_integer("features", 1_000_000, "Rows of embeddings; 0 for none.")
_IMAGES = flags.DEFINE_integer("images", 200_000, "Images; 0 for none.")
_COMPARED = 20_000
NUM_BITS = 16


class Memory:
    """Peak of this process's anonymous memory, in bytes: what is not a page of a file."""

    def __init__(self):
        self.peak, self._done = 0, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self._done.wait(0.05):
            status = Path("/proc/self/status").read_text()
            self.peak = max(self.peak, 1024 * int(status.split("RssAnon:")[1].split()[0]))

    def stop(self) -> int:
        self._done.set()
        return self.peak


def train(inputs, resident_bytes: int) -> tuple[float, float, int]:
    """Seconds of the last epoch, its share of waiting, and the peak of memory; the second epoch of few rows."""
    images = inputs.ndim == 4
    channels = 3 if images else inputs.shape[1]
    mean, scale = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    spec = InputSpec(mean, scale, "images" if images else "features", 32 if images else None)
    encoder = make_encoder("compact", NUM_BITS, width=8) if images else make_encoder("mlp", NUM_BITS, hidden=(64,))
    settings = TrainingSettings(num_epochs=2 if len(inputs) <= _COMPARED else 1, batch_size=256, optimizer="sgd")
    method = METHODS["csq"].make(Ingredients(NUM_BITS, encoder, settings, METHODS["csq"].settings()))
    memory = Memory()
    rows = place_rows(inputs, np.arange(len(inputs)) % 10, spec, resident_bytes=resident_bytes)
    before = run_phase(jax.random.key(0), method.phases[0], rows)
    ends = [(time.perf_counter(), 0.0)]
    on_epoch = lambda epoch, means: ends.append((time.perf_counter(), means.get("waiting", 0.0)))
    run_phase(jax.random.key(1), method.phases[1], rows, before=before, on_epoch=on_epoch)
    (first, _), (second, waiting) = ends[-2:]
    return second - first, waiting, memory.stop()


def show(name: str, inputs, resident_bytes: int):
    seconds, waiting, peak = train(inputs, resident_bytes)
    size = inputs.nbytes / 2**30
    print(
        f"  {name:>22}: {len(inputs):>9,} rows, {size:6.2f} GiB; epoch {seconds:7.1f} s, waiting {waiting:4.0%}; "
        f"anonymous memory at most {peak / 2**30:.2f} GiB",
        flush=True,
    )


def main(argv):
    del argv
    print(describe_machine())
    kinds = {"embeddings": (_FEATURES.value, (1280,), np.float16), "images": (_IMAGES.value, (256, 256, 3), np.uint8)}
    with tempfile.TemporaryDirectory() as folder:
        for name, (number, shape, dtype) in kinds.items():
            if not number:
                continue
            compared = min(_COMPARED if name == "embeddings" else 1_000, number)
            inputs = np.lib.format.open_memmap(f"{folder}/{name}.npy", "w+", dtype, (number, *shape))
            print(name)
            show("on the device", inputs[:compared], 2**40)
            show("from the host", inputs[:compared], 0)
            show("from the host", inputs, 0)


if __name__ == "__main__":
    app.run(main)
