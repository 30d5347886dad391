"""One step of every method on this process's devices: what it changed, and what it handed on; run by the tests.

python devices_worker.py OUT.npz WRAPPER[,WRAPPER] METHOD[,METHOD]

WRAPPER is shard_map, pmap (which takes those that span the interface), or jit for the plain one-device program.
"""

import sys

import jax
import numpy as np
from method_toys import SPANNING, key_of, make, toy

from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.parallel import find_devices
from drlhash_jax.training import Start, TrainingSettings, place_rows, run_phase

# 157 rows leave filling in a batch of 160, which is one step.
NUM_ROWS = 157
SGD = TrainingSettings(num_epochs=1, batch_size=160, optimizer="sgd", learning_rate=0.5, head_learning_rate=0.5)


def one_step(name, devices):
    """Phase -> what a step of each phase changed: parameters after it, less those before, and the rest as it is."""
    inputs, labels, _ = toy(name)
    rows = place_rows(inputs[:NUM_ROWS], labels[:NUM_ROWS], fit_input_spec(inputs), devices=devices)
    subset = np.arange(NUM_ROWS, dtype=np.int32)
    before, found = None, {}
    for phase in make(name, training=SGD).phases:
        facts = (
            rows.labels,
            subset,
            rows.num_classes,
            rows.spec,
            before,
            {},
            1 if devices is None else devices.mesh.size,
        )
        first = phase.init(key_of(phase.name), Start(rows.inputs, *facts)).params
        before = run_phase(key_of(phase.name), phase, rows, before=before)
        after = before.get("params")
        same = jax.tree.structure(first) == jax.tree.structure(after)
        changed = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), after, first) if same else after
        found[phase.name] = before | ({"params": changed} if after is not None else {})
    return found


def main(out, wrappers, methods):
    arrays = {"num_devices": jax.device_count()}
    for wrapper in wrappers.split(","):
        devices = None if wrapper == "jit" else find_devices(wrapper)
        for name in methods.split(",") if wrapper != "pmap" else SPANNING:
            for path, value in jax.tree_util.tree_leaves_with_path(one_step(name, devices)):
                arrays[f"{wrapper}|{name}|{jax.tree_util.keystr(path)}"] = value
    np.savez(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
