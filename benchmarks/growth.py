"""A database that grows: the old network alone, `grow`, and training again on everything, side by side.

    python -m benchmarks.growth --bits=12,24,32,48 --seeds=0,1,2
    python -m benchmarks.growth --steps=4,2,2,2 --bits=32
    python -m benchmarks.growth --first=erh --bits=32
    python -m benchmarks.growth --bits=16 --longer=32
    python -m benchmarks.growth --bits=32 --changes=4

CIFAR-10 embeddings, protocol C-54: 5,000 labelled rows are the database, 1,000 queries. Some classes come first, others
later. Seconds are given with compilation, each from empty caches, and without; those of the processor beside those of
the clock. With --held_out a fifth of the labelled rows takes the place of the queries: settings are chosen there.
"""

import argparse
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.feature_configs import table_config
from benchmarks.timing import describe_machine
from drlhash_jax import data, retrieval, serving
from drlhash_jax.config import load, plain_config
from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.growth.codes import move_codes
from drlhash_jax.growth.grow import learn
from drlhash_jax.growth.known import MOST_LEARNT, Known, draw
from drlhash_jax.runs import ModelRecord, write_model
from drlhash_jax.serving.models import ServedModel
from drlhash_jax.training import encode_codes, fit, place_rows

CONFIGS = Path(__file__).parents[1] / "configs"
NUM_CLASSES = 10


class Rows(NamedTuple):
    """Inputs ``[n, D]`` and classes int ``[n]``."""

    inputs: np.ndarray
    labels: np.ndarray

    def of(self, first: int, last: int) -> "Rows":
        """Those of classes from `first` to before `last`."""
        kept = (first <= self.labels) & (self.labels < last)
        return Rows(self.inputs[kept], self.labels[kept])


class Timed(NamedTuple):
    """Seconds of the clock and of the processor, with compilation and without."""

    first: float
    first_cpu: float
    again: float
    again_cpu: float


def config_of(method: str, bits: int):
    """The first model's configuration; that of ERH is its own, for one length."""
    if method != "erh":
        return table_config(method, bits)
    config = runpy.run_path(str(CONFIGS / "cifar10_erh.py"))["get_config"]()
    config.method, config.pool_bits, config.bits, config.last_stage = method, bits, (bits,), "encoder"
    config.erh.nested = ()
    return config


def timed(function: Callable[[], object]) -> tuple[object, Timed]:
    """What a function returns, and how long it takes from empty caches and again."""
    jax.clear_caches()
    seconds = []
    for _ in range(2):
        started = time.perf_counter(), time.process_time()
        found = function()
        seconds += [time.perf_counter() - started[0], time.process_time() - started[1]]
    return found, Timed(*seconds)


def train(method: str, bits: int, rows: Rows, seed: int) -> tuple[ModelRecord, np.ndarray]:
    """A model of all rows, and their codes."""
    config = config_of(method, bits)
    made, spec = load(config).make_method(bits), fit_input_spec(rows.inputs)
    found = fit(made.phases, place_rows(rows.inputs, rows.labels, spec), lambda name: jax.random.key(seed))
    codes = found.get("codes")
    if codes is None:
        codes = encode_codes(made.logits_for("database"), found["params"], rows.inputs, spec)
    shape = rows.inputs.shape[1:]
    params = jax.tree.map(np.asarray, found["params"])
    record = ModelRecord(plain_config(config), method, bits, int(rows.labels.max()) + 1, spec, shape, params, {})
    return record, codes


def hot(labels: np.ndarray) -> np.ndarray:
    """Multi-hot uint8 ``[n, 10]``."""
    return np.eye(NUM_CLASSES, dtype=np.uint8)[labels]


def known_of(rows: Rows, codes: np.ndarray) -> Known:
    """What `grow` looks at: some old rows and their codes; measuring is done here."""
    kept = draw(np.random.default_rng(0), np.arange(len(codes)), MOST_LEARNT)
    labels = hot(rows.labels)
    names = tuple(map(str, range(NUM_CLASSES)))
    return Known(names, True, rows.inputs[kept], labels[kept], codes[kept], *(rows.inputs[:0], labels[:0]) * 2)


def served_of(record: ModelRecord) -> ServedModel:
    """A model as `grow` opens it, from files."""
    folder = tempfile.mkdtemp(prefix="drlhash-")
    write_model(Path(folder), record)
    return serving.load(folder)


def scores(queries: Rows, codes: np.ndarray, searched: np.ndarray, labels: np.ndarray, old: int) -> list[float]:
    """mAP of all queries, of old classes and of new ones."""
    groups = queries.labels >= 0, queries.labels < old, queries.labels >= old
    return [retrieval.evaluate(codes[group], searched, queries.labels[group], labels).map for group in groups]


def show(name: str, found: list[float], reference: list[float], taken: Timed | None, whole: Timed) -> None:
    """One line: mAP and its ratio to that of training again, seconds and theirs."""
    maps = "  ".join(f"{value:.3f} ({value / other:.2f})" for value, other in zip(found, reference))
    times = ""
    if taken:
        times = "  ".join(f"{value:.2f} ({value / other:.2f})" for value, other in zip(taken, whole))
    print(f"  {name:12} {maps}   {times}", flush=True)


def run(args: argparse.Namespace, rows: Rows, queries: Rows, bits: int, seed: int) -> None:
    """One database of one length that grows step by step."""
    steps = np.cumsum([int(step) for step in args.steps.split(",")]).tolist()
    stored = rows.of(0, steps[0])
    record, codes = train(args.first, bits, stored, seed)
    for old, new in zip(steps, steps[1:]):
        served, added, asked = served_of(record), rows.of(old, new), queries.of(0, new)
        known, nobody = known_of(stored, codes), np.zeros(len(added.labels), bool)
        length = args.longer or bits
        given = served, known, added.inputs, hot(added.labels), nobody, length, args.changes
        learnt, taken = timed(lambda given=given: learn(*given))
        (again, again_codes), whole = timed(
            lambda until=new, length=length: train(args.first, length, rows.of(0, until), seed)
        )
        labels = np.concatenate([stored.labels, added.labels])
        alone = np.concatenate([codes, served.encode(added.inputs, role="database")])
        stayed = np.unpackbits(
            move_codes(np.packbits(codes, axis=1), known.codes, learnt.codes.old), axis=1, count=length
        )
        changed = (stayed[:, : codes.shape[1]] != codes).sum(axis=1)
        grown = np.concatenate([stayed, learnt.codes.new])
        by = lambda model, searched, labels=labels, asked=asked, old=old: scores(
            asked, model.encode(asked.inputs, role="query"), searched, labels, old
        )
        reference = by(served_of(again), again_codes, rows.of(0, new).labels)
        print(
            f"{args.first}, {bits} bits, seed {seed}, {old} + {new - old} classes: mAP of all, old and new queries (of"
        )
        print("  training again), seconds: clock, processor; without compilation: clock, processor")
        if args.changes or length > codes.shape[1]:
            print(f"  {length} bits then; of an old code {changed.mean():.2f} bits changed, at most {changed.max()}")
        show("old network", by(served, alone), reference, None, whole)
        show("grow", by(served_of(learnt.record), grown), reference, taken, whole)
        show("train again", reference, reference, whole, whole)
        record, codes, stored = learnt.record, grown, Rows(np.concatenate([stored.inputs, added.inputs]), labels)


def main() -> None:
    """Prints a block for each length and seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", default="32", help="lengths, with commas")
    parser.add_argument("--seeds", default="0", help="of splits and trainings, with commas")
    parser.add_argument("--steps", default="7,3", help="classes that come first, and with every growth")
    parser.add_argument("--first", default="dihn", help="method of the first model, and of training again")
    parser.add_argument("--longer", type=int, default=0, help="length of codes after growing; 0 for the same")
    parser.add_argument("--changes", type=int, default=0, help="bits of an old code that may change")
    parser.add_argument("--rows", type=int, default=5_000, help="labelled rows that are used")
    parser.add_argument("--held_out", action="store_true", help="labelled rows in place of the queries")
    args = parser.parse_args()
    # Compiled programs of earlier calls would make the first call look like the second.
    jax.config.update("jax_enable_compilation_cache", False)
    print(describe_machine())
    dataset = data.load_dataset("cifar10_features")
    for seed in map(int, args.seeds.split(",")):
        split = data.make_split(dataset, "C-54", data.PROTOCOLS["C-54"], seed)
        train_rows, query = np.random.default_rng(seed).permutation(split.train)[: args.rows], split.query
        if args.held_out:
            query, train_rows = np.split(train_rows, [len(train_rows) // 5])
        rows, queries = (Rows(np.asarray(dataset.inputs[part]), dataset.labels[part]) for part in (train_rows, query))
        for bits in map(int, args.bits.split(",")):
            run(args, rows, queries, bits, seed)


if __name__ == "__main__":
    main()
