"""mAP against the field's NumPy loop, on learned codes of a run and on codes that are all distinct.

    python -m benchmarks.mean_average_precision --workdir=runs/c10

The workdir is a finished run of configs/cifar10_features.py; its first 48 pool bits give 1,000 x 54,000 x 48.
"""

import resource
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.field_loop import argsort_map
from benchmarks.timing import describe_machine, first_call, interleaved
from drlhash_jax import data, retrieval
from drlhash_jax.codes import load_codes
from drlhash_jax.files import read_arrays

_WORKDIR = flags.DEFINE_string("workdir", "runs/c10", "A finished run of configs/cifar10_features.py.")
NUM_BITS, POOL_BITS = 48, 64


def compare(name: str, arguments: tuple[np.ndarray, ...]) -> None:
    """Prints times, values, ratio and memory for one set of codes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compile_seconds = first_call(lambda: retrieval.evaluate(*arguments).map)
    ours_peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    functions = {
        "evaluate": lambda: retrieval.evaluate(*arguments).map,
        "argsort loop": lambda: argsort_map(*arguments),
    }
    seconds = interleaved(functions, 5)
    num_distinct = [len(np.unique(codes, axis=0)) for codes in arguments[:2]]
    print(f"{name}: {len(arguments[0])} x {len(arguments[1])} x {NUM_BITS} bits, distinct {num_distinct}")
    for path, function in functions.items():
        print(f"  {path:13} {seconds[path] * 1e3:8.1f} ms, mAP {function():.4f}")
    print(f"  argsort loop / evaluate = {seconds['argsort loop'] / seconds['evaluate']:.1f}")
    print(f"  first call {compile_seconds:.2f} s; peak memory above the inputs {ours_peak:.0f} MiB")


def main(_) -> None:
    """Runs both cases."""
    print(describe_machine())
    folder = Path(_WORKDIR.value)
    split = read_arrays(folder / "split.npz")
    labels = data.load_dataset("cifar10_features").labels
    codes = [load_codes(folder / f"codes/{part}.npy", POOL_BITS)[:, :NUM_BITS] for part in ("query", "database")]
    labels = [labels[split[part]].astype(np.int64) for part in ("query", "database")]
    compare("learned codes", (*codes, *labels))
    rng = np.random.default_rng(0)
    random_codes = [rng.integers(0, 2, part.shape, dtype=np.uint8) for part in codes]
    compare("distinct codes", (*random_codes, *labels))


if __name__ == "__main__":
    app.run(main)
