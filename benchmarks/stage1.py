"""Stage 1: one step (loss and gradient) of the exact path against the block-wise one, and the cost a row at scale.

    python -m benchmarks.stage1

The COCO rows need DRLHASH_DATA; without it that part is left out.
"""

import resource

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import describe_machine, first_call, interleaved
from drlhash_jax import data, target_codes, training
from drlhash_jax.errors import UserError
from drlhash_jax.methods.drlhash import target_codes_phase

NUM_BITS = 64


def steps(labels: np.ndarray):
    """Functions that compute loss and gradient both ways, at the same random point."""
    sets = target_codes.find_label_sets(labels)
    multi_hot = jnp.asarray(target_codes.to_multi_hot(labels), jnp.float32)
    z = jnp.tanh(jax.random.normal(jax.random.key(0), (len(labels), NUM_BITS)))
    members, set_labels = jnp.asarray(sets.members), jnp.asarray(sets.sets)

    @jax.jit
    def exact(z):
        loss = lambda z: target_codes.exact_similarity_loss(z, members, set_labels, disjoint=sets.disjoint)
        return jax.value_and_grad(loss)(z)

    @jax.jit
    def blockwise(z):
        loss = lambda z: target_codes.blockwise_similarity_loss(z, multi_hot, height=500, width=500)
        return jax.value_and_grad(loss)(z)

    return {"exact": lambda: exact(z), "blockwise": lambda: blockwise(z)}, len(sets.sets)


def compare(name: str, labels: np.ndarray) -> None:
    """Prints the ratio and the agreement of the two paths."""
    functions, num_sets = steps(labels)
    compile_seconds = {path: first_call(function) for path, function in functions.items()}
    seconds = interleaved(functions, 7)
    (exact_loss, exact_gradient), (block_loss, block_gradient) = (functions[path]() for path in ("exact", "blockwise"))
    loss_error = abs(float(exact_loss / block_loss) - 1)
    gradient_error = float(jnp.linalg.norm(exact_gradient - block_gradient) / jnp.linalg.norm(block_gradient))
    print(f"{name}: {len(labels)} rows, {num_sets} label sets, {NUM_BITS} bits")
    for path in functions:
        print(f"  {path:10} {seconds[path] * 1e3:9.2f} ms a step (first call {compile_seconds[path]:.2f} s)")
    print(f"  blockwise / exact = {seconds['blockwise'] / seconds['exact']:.1f}")
    print(f"  relative difference: loss {loss_error:.1e}, gradient {gradient_error:.1e}")


def scale() -> None:
    """Prints the cost a row of whole epochs at 100,000 and 1,000,000 single-label rows, and the peak memory."""
    num_epochs = 5
    settings = target_codes.TargetCodeSettings(num_epochs=num_epochs, path="exact")
    phase = target_codes_phase(NUM_BITS, settings)
    functions, sizes = {}, (100_000, 1_000_000)
    for size in sizes:
        rows = training.place_rows(None, np.random.default_rng(0).integers(0, 10, size), None)
        run = lambda rows=rows: training.run_phase(jax.random.key(0), phase, rows)["codes"]
        first_call(run)
        functions[str(size)] = run
    seconds = interleaved(functions, 3)
    per_row = {size: seconds[str(size)] / num_epochs / size for size in sizes}
    for size in sizes:
        print(f"{size:9} rows: {per_row[size] * 1e9:.0f} ns a row and epoch")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    ratio = per_row[sizes[1]] / per_row[sizes[0]]
    print(f"  cost a row, {sizes[1]} / {sizes[0]} rows = {ratio:.2f}; peak memory {peak:.1f} GiB")


def main() -> None:
    """Runs all parts."""
    print(describe_machine())
    compare("single label", np.random.default_rng(0).integers(0, 10, 10_500))
    try:
        coco = data.load_dataset("coco_labels")
        compare("COCO", coco.labels[coco.lists["CO"][1]])
    except UserError as error:
        print(f"COCO left out: {error}")
    scale()


if __name__ == "__main__":
    main()
