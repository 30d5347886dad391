"""The pool of bits that the benchmarks of stage 3 choose from."""

from pathlib import Path

import jax
import numpy as np

from drlhash_jax import data
from drlhash_jax.bit_selection import EnvParams
from drlhash_jax.codes import load_codes, pack_distinct
from drlhash_jax.files import read_arrays

POOL_BITS = 64
NUM_QUERIES, NUM_DATABASE = 200, 5000


def reward_of(sample: tuple[np.ndarray, ...]) -> EnvParams:
    """The reward of a sample, on the device, with equal rows merged."""
    query, database, query_labels, database_labels = sample
    packed = pack_distinct(query, query_labels), pack_distinct(database, database_labels)
    return jax.device_put(EnvParams(*packed, POOL_BITS))


def reward_sample(folder: Path):
    """200 queries and 5,000 other rows: held-out training codes, completed by database codes."""
    split = read_arrays(folder / "split.npz")
    labels = data.load_dataset("cifar10_features").labels.astype(np.int64)
    parts = {"train": "codes/train_heldout.npy", "database": "codes/database.npy"}
    codes = np.concatenate([load_codes(folder / path, POOL_BITS) for path in parts.values()])
    labels = np.concatenate([labels[split[part]] for part in parts])
    query, database = np.s_[:NUM_QUERIES], np.s_[NUM_QUERIES : NUM_QUERIES + NUM_DATABASE]
    order = np.random.default_rng(0).permutation(len(split["train"]) + NUM_QUERIES)
    codes, labels = codes[order], labels[order]
    return codes[query], codes[database], labels[query], labels[database]
