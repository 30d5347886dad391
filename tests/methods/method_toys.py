"""Toys that every method is tried on, and the floors of what it learns; a new method adds its row here."""

import jax
import numpy as np
import pytest

from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.methods import METHODS, Ingredients
from drlhash_jax.training import TrainingSettings, fit, place_rows

NUM_BITS, NUM_CLASSES, NUM_ROWS = 16, 4, 160
TRAINING = TrainingSettings(num_epochs=12, batch_size=32, optimizer="adam", learning_rate=1e-2, head_learning_rate=1e-2)
# These span what a method can be: what is the same for all is tried with them alone.
SPANNING = ("drlhash", "lsh", "csq", "adsh")
SPANNING_FIRST = [name if name in SPANNING else pytest.param(name, marks=pytest.mark.exhaustive) for name in METHODS]
# Another method's trainings are these, but for the last step.
OF_THEIR_OWN = [pytest.param(name, marks=pytest.mark.exhaustive) if name == "erh_two" else name for name in METHODS]
# Values of a row; 12 for others. Principal directions are as many as bits.
WIDTHS = {"pca": 20, "pca_rotation": 20, "itq": 20}
# Each device draws its own dropout.
_ERH = {"num_folds": 2, "num_steps": 60, "pair_steps": 30, "code_batch": 64, "dropout": 0.0}
# Settings that the toy needs; generated images need images.
CHANGES = {
    "drlhash": {"num_epochs": 60},
    "adsh": {"num_samples": 64},
    "dagh": {"num_anchors": 128, "focus": -2.0},
    "dihn": {"num_samples": 64},
    "hashgan": {"gan": False},
    "cnnh": {"num_epochs": 60},
    "dnnh": {"group_size": 10},
    "drlih": {"features": 24},
    "erh": _ERH,
    "erh_two": _ERH,
}
# mAP of the toy with key 0, well below what was measured; methods that see no labels learn little.
FLOORS = {
    "drlhash": 0.95,
    "lsh": 0.4,
    "pca": 0.35,
    "pca_rotation": 0.8,
    "itq": 0.9,
    "sdh": 0.95,
    "cnnh": 0.95,
    "erh": 0.95,
    "erh_two": 0.95,
    "dnnh": 0.95,
    "dsh": 0.93,
    "dpsh": 0.95,
    "dtsh": 0.95,
    "hashnet": 0.95,
    "pgdh": 0.95,
    "csq": 0.95,
    "greedyhash": 0.9,
    "orthohash": 0.9,
    "hashgan": 0.9,
    "drlih": 0.95,
    "adsh": 0.95,
    "dagh": 0.95,
    "dihn": 0.95,
    "posterior_hadamard": 0.95,
}


def make(name, num_bits=NUM_BITS, training=TRAINING):
    spec = METHODS[name]
    settings = spec.settings().replace(**CHANGES.get(name, {}))
    return spec.make(Ingredients(num_bits, make_encoder("mlp", num_bits, hidden=(32,)), training, settings))


def toy(name, multi_label=False):
    """Blobs for a method: training inputs, their labels, and inputs of as many queries of the same labels."""
    rng, width = np.random.default_rng(0), WIDTHS.get(name, 12)
    centres = 1.5 * rng.normal(size=(NUM_CLASSES, width))
    labels = np.arange(NUM_ROWS) % NUM_CLASSES
    inputs, queries = ((centres[labels] + rng.normal(size=(NUM_ROWS, width))).astype(np.float32) for _ in range(2))
    return inputs, np.eye(NUM_CLASSES, dtype=np.uint8)[labels] if multi_label else labels, queries


def key_of(name):
    return jax.random.fold_in(jax.random.key(0), len(name))


def fitted(name, *, subset=None, multi_label=False, resident_bytes=2**30, devices=None, **more):
    inputs, labels, _ = toy(name, multi_label)
    options = {"devices": devices, "resident_bytes": resident_bytes}
    rows = place_rows(inputs, labels, fit_input_spec(inputs), **options)
    return fit(make(name).phases, rows, key_of, subset, **more)
