"""Saved models that nobody trained: what methods hand on before their first step."""

import jax
import numpy as np

from drlhash_jax.config import default_config, load, plain_config
from drlhash_jax.encoders import InputSpec
from drlhash_jax.runs import ModelRecord, write_model
from drlhash_jax.training import Start

FEATURES = InputSpec(np.linspace(-1, 1, 8, dtype=np.float32), np.full(8, 2.0, np.float32), "features")
# Twelve pixels, resized to ten, of which the network sees eight.
IMAGES = InputSpec(np.full(1, 100.0, np.float32), np.full(1, 50.0, np.float32), "images", 10, 8)


# Files of twelve pixels a side in colour.
PHOTOS = InputSpec(np.full(3, 100.0, np.float32), np.full(3, 50.0, np.float32), "images")


def draw_inputs(spec, num_rows):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_rows, 12, 12, len(spec.mean))).astype(np.uint8)
    return images if spec.kind == "images" else rng.normal(size=(num_rows, 8)).astype(np.float32)


def start_params(method, inputs, spec):
    """What a method hands on before its first step."""
    labels, subset = np.arange(len(inputs), dtype=np.int32) % 3, np.arange(len(inputs), dtype=np.int32)
    before = None
    for phase in method.phases:
        start = Start(inputs, labels, subset, 3, spec, before, {}, 1)
        before = jax.tree.map(np.asarray, phase.finish(phase.init(jax.random.key(0), start)))
    return before["params"]


def save_model(folder, method="drlhash", spec=FEATURES, num_bits=6, **changes):
    """Writes a model of a method; `changes` are of its ModelRecord. The method, and its parameters."""
    values = plain_config(default_config())
    values |= {"method": method, "pool_bits": num_bits, "bits": [2]}
    images = spec.kind == "images"
    values["encoder"] |= {
        "name": "compact" if images else "mlp",
        "options": {"width": 8} if images else {"hidden": [4]},
    }
    # Images are generated from images alone.
    values["hashgan"]["gan"] = images
    made = load(values).make_method(num_bits)
    inputs = draw_inputs(spec, 12)
    params = start_params(made, inputs, spec)
    shape = inputs.shape[1:]
    record = ModelRecord(values, method, num_bits, 3, spec, shape, params, {2: {"ppo": [4, 1]}})
    write_model(folder, record._replace(**changes))
    return made, params
