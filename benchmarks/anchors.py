"""DAGH's anchors: how they are drawn, how many, and how much each counts, where some training labels are wrong.

    python -m benchmarks.anchors --seeds=0,1 --out=benchmarks/results/anchors_cifar10_features.json

CIFAR-10 embeddings, the 5,000 training rows of protocol C-54, 32 bits. Of these 3,500 are trained on, 500 are queries
and 1,000 the database; reported queries are never looked at. A share of the 3,500 gets another class than its own,
drawn at random; those held out keep theirs. Every training takes as many gradient steps as 20 epochs over all rows,
however few its anchors are. Encoder and training are those of DAGH in the table of the README.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.feature_configs import table_config
from benchmarks.timing import describe_machine
from drlhash_jax import data, retrieval
from drlhash_jax.config import load
from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.training import encode_codes, fit, place_rows

NUM_BITS, NUM_CLASSES, HELD_OUT = 32, 10, 0.3


class Way(NamedTuple):
    """Settings of DAGH that are compared."""

    anchors: str
    num_anchors: int
    focus: float = 0.0


WAYS = (
    *(Way(anchors, number) for number in (200, 1_000) for anchors in ("random", "classes", "kmeans")),
    # More than there are rows: all of them, in every round.
    *(Way("random", 5_000, focus) for focus in (0.0, 2.0, -2.0, -4.0, -8.0)),
    Way("random", 1_000, -4.0),
)


class Held(NamedTuple):
    """Rows of one seed: inputs float ``[n, D]`` and classes int ``[n]`` of those trained on, queries and database."""

    train: tuple[np.ndarray, np.ndarray]
    query: tuple[np.ndarray, np.ndarray]
    database: tuple[np.ndarray, np.ndarray]


def draw_rows(dataset: data.Dataset, seed: int) -> Held:
    """Training rows alone, some of which are held out."""
    split = data.make_split(dataset, "C-54", data.PROTOCOLS["C-54"], seed)
    split = data.validation_split(split, HELD_OUT, seed)
    parts = split.train, split.query, split.database
    return Held(*((np.asarray(dataset.inputs[rows]), dataset.labels[rows]) for rows in parts))


def mislabel(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Labels, a share of which is another class than their own."""
    rng = np.random.default_rng([seed, 2])
    rows = rng.permutation(len(labels))[: round(share * len(labels))]
    found = labels.copy()
    found[rows] = (labels[rows] + rng.integers(1, NUM_CLASSES, len(rows))) % NUM_CLASSES
    return found


def measure(held: Held, labels: np.ndarray, way: Way, seed: int) -> dict[str, float]:
    """mAP of rows held out after training on these labels, and processor seconds with compilation."""
    config = table_config("dagh", NUM_BITS)
    config.dagh.anchors, config.dagh.num_anchors, config.dagh.focus = way
    batches = lambda rows: -(-rows // config.training.batch_size)
    steps = config.training.num_epochs * batches(len(labels))
    config.training.num_epochs = round(steps / batches(min(way.num_anchors, len(labels))))
    started = time.process_time()
    made, spec = load(config).make_method(NUM_BITS), fit_input_spec(held.train[0])
    found = fit(made.phases, place_rows(held.train[0], labels, spec), lambda name: jax.random.key(seed))
    codes = [encode_codes(made.logits, found["params"], part[0], spec) for part in (held.query, held.database)]
    value = retrieval.evaluate(*codes, held.query[1], held.database[1]).map
    return {"map": round(float(value), 6), "cpu_seconds": round(time.process_time() - started, 2)}


def main() -> None:
    """Prints a line for each way, share of wrong labels and seed, then the means."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0", help="of splits and trainings, with commas")
    parser.add_argument("--noise", default="0,0.1,0.3", help="shares of wrong labels, with commas")
    parser.add_argument("--out", help="file for every result")
    args = parser.parse_args()
    print(describe_machine())
    dataset = data.load_dataset("cifar10_features")
    seeds, shares = [int(seed) for seed in args.seeds.split(",")], [float(share) for share in args.noise.split(",")]
    results = []
    for seed in seeds:
        held = draw_rows(dataset, seed)
        for share in shares:
            labels = mislabel(held.train[1], share, seed)
            for way in WAYS:
                results.append({"seed": seed, "noise": share, **way._asdict(), **measure(held, labels, way, seed)})
                print(results[-1], flush=True)
    print(f"\nmAP, mean of seeds {args.seeds}, by share of wrong labels: {args.noise}")
    for way in WAYS:
        same = lambda result, way=way: all(result[name] == value for name, value in way._asdict().items())
        found = [[each["map"] for each in results if same(each) and each["noise"] == share] for share in shares]
        means = "  ".join(f"{np.mean(maps):.3f}" for maps in found)
        print(f"  {way.anchors:8} {way.num_anchors:5} focus {way.focus:4}  {means}")
    if args.out:
        Path(args.out).write_text(json.dumps({"definition": __doc__, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
