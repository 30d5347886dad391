"""Streamed evaluation at the sizes of the literature: time, memory above the inputs, and the field's NumPy loop.

    python -m benchmarks.evaluation

Real label matrices of MS-COCO and NUS-WIDE (DRLHASH_DATA), ten random classes for CIFAR-10; 64-bit codes are the signs
of label-dependent logits, "repeated" with little noise as a trained encoder's codes, "distinct" with much. Every size
runs in a process of its own, so that its peak memory is its own. Medians of three rounds. Both NumPy loops and the
asymmetric ranking are measured on 32 queries and scaled to all of them. With JAX_NUM_CPU_DEVICES=2 two devices share
the queries.
"""

import multiprocessing
import resource
import tempfile
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from benchmarks.field_loop import argsort_map, asymmetric_argsort_map
from benchmarks.timing import describe_machine, first_call, interleaved
from drlhash_jax import parallel, retrieval
from drlhash_jax.data.benchmarks import data_file

_SIZES = flags.DEFINE_list("sizes", ["coco", "nuswide21", "cifar10"], "Which sizes to measure.")
NUM_BITS, NUM_FEW = 64, 32
NOISE = {"repeated": 0.1, "distinct": 2.0}
TOP_K = {"coco": 5000, "nuswide21": 5000, "cifar10": None}


def read_labels(size: str) -> tuple[np.ndarray, np.ndarray]:
    """Query and database labels: 5,000 x 117,218 (80), 2,100 x 193,734 (21), or 10,000 x 50,000 in ten classes."""
    if size == "coco":
        with np.load(data_file("coco_labels.npz")) as arrays:
            labels = arrays["labels"].astype(np.uint8)
            return labels[arrays["hashnet_test"]], labels[arrays["hashnet_database"]]
    if size == "nuswide21":
        with np.load(data_file("nuswide_labels.npz")) as arrays:
            return arrays["labels_tc21_test"], arrays["labels_tc21_database_unordered"]
    rng = np.random.default_rng(0)
    return rng.integers(0, 10, 10_000), rng.integers(0, 10, 50_000)


def draw_logits(labels: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Logits float32 ``[N, 64]``: one centre a class, added up over a row's labels, and noise."""
    hot = labels if labels.ndim == 2 else np.eye(10, dtype=np.uint8)[labels]
    centres = np.random.default_rng(1).standard_normal((hot.shape[1], NUM_BITS), np.float32)
    return hot.astype(np.float32) @ centres + noise * rng.standard_normal((len(hot), NUM_BITS), np.float32)


def peak_mib() -> float:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(size: str, kind: str, path: str) -> None:
    """Prints the figures of one set of codes, in a fresh process."""
    with np.load(path) as arrays:
        logits, database, query_labels, labels = (
            arrays[name] for name in ("logits", "codes", "query_labels", "labels")
        )
    query = (logits > 0).astype(np.uint8)
    options = {"top_k": TOP_K[size], "devices": parallel.find_devices() if jax.device_count() > 1 else None}
    num_distinct = len(np.unique(np.packbits(database, axis=1), axis=0))
    print(
        f"{size}, {kind} codes: {len(query)} x {len(database)} x {NUM_BITS} bits, labels {labels.shape[1:] or 'of 10'}"
    )
    print(f"  {num_distinct} distinct database codes, mAP@{TOP_K[size] or 'all'}, {jax.device_count()} device(s)")
    few = lambda rows: rows[:NUM_FEW]
    as_float = lambda rows: rows.astype(np.float32) if rows.ndim == 2 else rows
    few_labels, float_labels = few(query_labels), as_float(labels)
    functions = {
        "evaluate_queries": lambda: retrieval.evaluate_queries(query, database, query_labels, labels, **options),
        "stable_queries": lambda: retrieval.stable_queries(query, database, query_labels, labels, **options),
        "asymmetric_queries": lambda: retrieval.asymmetric_queries(
            few(logits), database, few_labels, labels, **options
        ),
    }
    before, first, peak = peak_mib(), {}, {}
    for name, function in functions.items():
        first[name] = first_call(function)
        peak[name] = peak_mib() - before
    functions["argsort loop"] = lambda: argsort_map(few(query), database, as_float(few_labels), float_labels)
    functions["asymmetric loop"] = lambda: asymmetric_argsort_map(
        few(logits), database, as_float(few_labels), float_labels
    )
    seconds = interleaved(functions, 3)
    for name in seconds:
        if name not in ("evaluate_queries", "stable_queries"):
            seconds[name] *= len(query) / NUM_FEW
    for name, value in seconds.items():
        loop = "asymmetric loop" if name == "asymmetric_queries" else "argsort loop"
        line = f"  {name:18} {value:7.2f} s"
        if name in first:
            line += f", {loop} / it = {seconds[loop] / value:.1f}; first call {first[name]:.2f} s"
            line += f", peak memory above the inputs so far {peak[name]:.0f} MiB"
        print(line)


def main(_) -> None:
    """Runs every size and kind of codes."""
    print(describe_machine())
    spawn = multiprocessing.get_context("spawn")
    for size in _SIZES.value:
        query_labels, labels = read_labels(size)
        for kind, noise in NOISE.items():
            rng = np.random.default_rng(2)
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "arrays.npz")
                codes = (draw_logits(labels, noise, rng) > 0).astype(np.uint8)
                logits = draw_logits(query_labels, noise, rng)
                np.savez(path, logits=logits, codes=codes, query_labels=query_labels, labels=labels)
                worker = spawn.Process(target=measure, args=(size, kind, path))
                worker.start()
                worker.join()
            if worker.exitcode:
                raise SystemExit(f"{size}, {kind} codes: the measuring process ended with {worker.exitcode}")


if __name__ == "__main__":
    app.run(main)
