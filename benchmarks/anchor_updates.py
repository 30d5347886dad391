"""What DAGH's updates cost by the number of rows: drawing anchors, and W and B together; and one whole training.

    python -m benchmarks.anchor_updates --rows=10000,30000,100000,300000
    python -m benchmarks.anchor_updates --train=100000

Rows are made up: vectors of 512 numbers around a random centre for each of 100 classes. Seconds are the processor's,
without compilation, the median of some runs; in brackets, how many times those of the line before.
"""

import argparse
import functools
import resource
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.feature_configs import table_config
from benchmarks.timing import describe_machine
from drlhash_jax import retrieval
from drlhash_jax.config import load
from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.methods import Method
from drlhash_jax.training import Start, State, encode_codes, fit, place_rows

NUM_BITS, NUM_CLASSES, NUM_VALUES, ROUNDS = 32, 100, 512, 7


def make(**settings: object) -> Method:
    """DAGH of 5,000 anchors as in the table of the README."""
    config = table_config("dagh", NUM_BITS)
    config.dagh.update(settings)
    return load(config).make_method(NUM_BITS)


def draw_rows(num_rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs float32 ``[n, 512]`` and classes int32 ``[n]``."""
    centres = np.random.default_rng(0).normal(size=(NUM_CLASSES, NUM_VALUES)).astype(np.float32)
    rng = np.random.default_rng([seed, num_rows])
    labels = rng.integers(0, NUM_CLASSES, num_rows).astype(np.int32)
    return centres[labels] + 4.0 * rng.standard_normal((num_rows, NUM_VALUES), np.float32), labels


def seconds(function: Callable[[], object]) -> float:
    """Processor seconds of a call, the median of some after the first."""
    found = []
    for _ in range(1 + ROUNDS):
        started = time.process_time()
        jax.block_until_ready(function())
        found.append(time.process_time() - started)
    return float(np.median(found[1:]))


def updates(num_rows: int) -> dict[str, float]:
    """Seconds of each part of a round that looks at all rows."""
    key, labels = jax.random.key(0), np.arange(num_rows, dtype=np.int32) % NUM_CLASSES
    rows = np.arange(num_rows, dtype=np.int32)
    found = {}
    for anchors in ("random", "classes"):
        draw = jax.jit(make(anchors=anchors).phases[0].sample_rows)
        found[f"draw {anchors}"] = seconds(functools.partial(draw, key, np.int32(0), jnp.asarray(rows), labels))
    inputs = np.zeros((num_rows, 1), np.float32)
    for balance in ("centred", "exact"):
        phase = make(balance=balance).phases[0]
        start = Start(inputs, labels, rows, NUM_CLASSES, fit_input_spec(inputs[:2] + rows[:2, None]), None, {}, 1)
        state: State = phase.init(key, start)
        anchored = jax.random.normal(key, (NUM_CLASSES, NUM_BITS))
        state = state.replace(extra=state.extra.replace(anchored=anchored, total=jnp.float32(5_000)))
        update = jax.jit(phase.end_epoch)
        # The third epoch ends a round.
        found[f"W and B, {balance}"] = seconds(functools.partial(update, state, np.int32(2), key))
    return found


def train(num_rows: int) -> None:
    """One training of 20 epochs of 5,000 anchors, and what it finds for 1,000 other rows."""
    inputs, labels = draw_rows(num_rows)
    queries, query_labels = draw_rows(1_000, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time(), time.perf_counter()
    made, spec = make(), fit_input_spec(inputs)
    found = fit(made.phases, place_rows(inputs, labels, spec), lambda name: jax.random.key(0))
    taken = time.process_time() - started[0], time.perf_counter() - started[1]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = encode_codes(made.logits, found["params"], queries, spec)
    value = retrieval.evaluate(codes, found["codes"], query_labels, labels).map
    print(f"{num_rows} rows: mAP {value:.3f}; seconds with compilation: processor {taken[0]:.1f}, clock {taken[1]:.1f}")
    mebibytes = after / 2**10, before / 2**10, inputs.nbytes / 2**20
    print("  most memory: {:.0f} MiB, {:.0f} before it, of which {:.0f} are inputs".format(*mebibytes))


def main() -> None:
    """Prints a line for each part and number of rows, and the training."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default="", help="numbers of rows, with commas")
    parser.add_argument("--train", type=int, default=0, help="rows of a whole training")
    args = parser.parse_args()
    print(describe_machine())
    before: dict[str, float] = {}
    for num_rows in [int(rows) for rows in args.rows.split(",") if rows]:
        found = updates(num_rows)
        ratios = {name: f" ({value / before[name]:.1f})" if before else "" for name, value in found.items()}
        print(
            f"{num_rows:7}: " + "; ".join(f"{name} {value:.4f}{ratios[name]}" for name, value in found.items()),
            flush=True,
        )
        before = found
    if args.train:
        train(args.train)


if __name__ == "__main__":
    main()
