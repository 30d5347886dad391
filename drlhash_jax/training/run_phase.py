"""A phase from its first to its last step, on any number of devices, stopped and continued anywhere."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec
from drlhash_jax.training.feeds import CHUNK_BYTES, Chunk, HostFeed, Resident, epoch_batches, multi_hot, see
from drlhash_jax.training.loop import run_chunks
from drlhash_jax.training.phase import Batch, Phase, Start, State, epoch_keys
from drlhash_jax.training.rows import TrainingRows
from drlhash_jax.types import NO_CHECKPOINT, Array, Checkpoint

# Steps of a network of images between two looks at its losses; few enough for a signal to be heeded soon.
_STEPS_PER_LOOK = 8
# Epochs of a phase without batches between two looks.
_EPOCHS_PER_LOOK = 20


class Sizes(NamedTuple):
    """How a phase is cut into calls; static.

    Attributes:
      batch_size: B on all devices together; 0 for all rows.
      num_batches: M, steps that share an order of the rows: those of an epoch, or without batches all of them.
      num_steps: of the whole phase.
      chunk: steps between two looks, at most.
      in_loop: whether a call takes a chunk of steps. Small steps of features want that; on the CPU, XLA runs
        convolutions in a loop on one core and without its fast kernels, 25 to 70 times slower.
      num_classes: C.
    """

    batch_size: int
    num_batches: int
    num_steps: int
    chunk: int
    in_loop: bool
    num_classes: int

    def next_stop(self, position: int) -> int:
        """Steps done after the next chunk, which ends with its epoch at the latest."""
        return min(position + self.chunk, (position // self.num_batches + 1) * self.num_batches)


def _find_sizes(phase: Phase, rows: TrainingRows, subset: np.ndarray) -> Sizes:
    if not phase.batch_size:
        chunk = 1 if phase.end_epoch else _EPOCHS_PER_LOOK
        return Sizes(0, phase.num_epochs, phase.num_epochs, chunk, True, rows.num_classes)
    sampled = jax.eval_shape(phase.sample_rows, jax.random.key(0), np.int32(0), subset, rows.labels)
    num_batches = -(-sampled.shape[0] // phase.batch_size)
    in_loop = rows.spec.kind == "features"
    chunk = num_batches if in_loop else _STEPS_PER_LOOK
    if rows.streamed:
        row_bytes = np.dtype(rows.inputs.dtype).itemsize * int(np.prod(rows.inputs.shape[1:]))
        chunk = max(1, min(chunk, CHUNK_BYTES // (row_bytes * phase.batch_size)))
    return Sizes(phase.batch_size, num_batches, phase.num_epochs * num_batches, chunk, in_loop, rows.num_classes)


def _all_rows(feed: Resident, num_classes: int, spec: InputSpec | None, needs_inputs: bool) -> Batch:
    inputs = see(feed.inputs[feed.subset], feed.subset, None, spec, -1) if needs_inputs else None
    labels = multi_hot(feed.labels[feed.subset], num_classes)
    return Batch(inputs, labels, feed.subset, jnp.ones(feed.subset.shape, jnp.float32))


def take_steps(
    state: State,
    metrics: Mapping[str, Array],
    last: Array,
    key: Array,
    feed: Resident | Chunk,
    spec: InputSpec | None,
    *,
    phase: Phase,
    sizes: Sizes,
    axis_name: str | None = None,
) -> tuple[State, dict[str, Array]]:
    """Steps of one epoch, each batch divided among the devices.

    The number of steps is an argument: a training that is cut into calls in any way is the same program, and ends in
    the same bits.

    Args:
      state: State; its step tells the epoch and the first batch.
      metrics: name -> float32 ``[M]`` of the epoch's batches so far.
      last: int32 scalar, the step to stop before, in the same epoch; without a loop, the one after the first.
      key: PRNG key of the whole training: epoch e uses fold_in(key, e).
      feed: Resident rows, or the Chunk that begins at the state's step.
      spec: InputSpec.
      phase: Phase.
      sizes: Sizes.
      axis_name: axis of the devices; None for one.

    Returns:
      The state after the steps, and the metrics with theirs filled in.
    """
    epoch, first = jnp.divmod(state.step, sizes.num_batches)
    _, steps_key, views_key = epoch_keys(key, epoch)
    if sizes.batch_size:
        sample = functools.partial(phase.sample_rows, key, epoch)
        stored = feed.batches(sample, sizes.batch_size, axis_name)
    else:
        whole = _all_rows(feed, sizes.num_classes, spec, phase.needs_inputs)

    def batch_of(index: Array, key: Array) -> Batch:
        if not sizes.batch_size:
            return whole._replace(key=key)
        inputs, labels, rows, weights = stored(index)
        seen = see(inputs, rows, views_key, spec, phase.max_shift)
        return Batch(seen, multi_hot(labels, sizes.num_classes), rows, weights, key)

    def step(index: Array, carry: tuple) -> tuple:
        state, metrics = carry
        step_key = jax.random.fold_in(steps_key, index)
        # Dropout draws from the step's own key.
        batch = batch_of(index, jax.random.fold_in(step_key, 1))
        after, values = phase.step(state, batch, step_key, num_steps=sizes.num_steps, axis_name=axis_name)
        metrics = {name: metrics[name].at[index].set(values[name]) for name in phase.metrics}
        return after.replace(step=state.step + 1), metrics

    if not sizes.in_loop:
        return step(first, (state, metrics))
    return jax.lax.fori_loop(first, last - epoch * sizes.num_batches, step, (state, metrics))


def _end_epoch(state: State, epoch: Array, key: Array, *, phase: Phase, axis_name: str | None = None) -> State:
    return phase.end_epoch(state, epoch, key, axis_name=axis_name)


def _sample(key: Array, epoch: Array, subset: Array, labels: Array, *, phase: Phase, axis_name: str | None = None):
    return epoch_batches(phase.sample_rows(key, epoch, subset, labels), phase.batch_size)


def run_phase(
    key: Array,
    phase: Phase,
    rows: TrainingRows,
    subset: np.ndarray | None = None,
    *,
    before: Mapping[str, Any] | None = None,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, means: None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> dict[str, Any]:
    """Runs a phase.

    Args:
      key: PRNG key, consumed.
      phase: Phase.
      rows: TrainingRows.
      subset: int ``[m]``, numbers of the rows to train on; None for all.
      before: what the phase before handed on.
      on_epoch: called with the number of each epoch and the mean of each metric over its steps; with "waiting", the
        share of the time that the loop waited for rows, where they are read while training.
      checkpoint: asked between chunks of steps, see `Checkpoint`.

    Returns:
      What the phase hands on, see `Phase.finish`; arrays of NumPy.

    Raises:
      FloatingPointError: a metric stopped being a finite number.
      ValueError: a phase without batches looks at inputs that are too large for the devices.
    """
    devices = rows.devices
    subset = np.arange(len(rows.labels), dtype=np.int32) if subset is None else np.asarray(subset, np.int32)
    num_shards = 1 if devices is None else devices.mesh.size
    facts = rows.labels, subset, rows.num_classes, rows.spec, before, rows.pretrained, num_shards, rows.frozen
    start = Start(rows.inputs, *facts)
    state = phase.init(key, start)
    if phase.num_epochs:
        subset = phase.choose_rows(key, start)
        sizes = _find_sizes(phase, rows, subset)
        if not phase.batch_size and phase.needs_inputs and rows.streamed:
            raise ValueError(f"{phase.name} looks at all rows at once, and they do not fit on a device")
        state = _take_all(jax.random.split(key)[1], phase, rows, subset, state, sizes, on_epoch, checkpoint)
    return jax.tree.map(np.asarray, phase.finish(state))


def _open_host_feed(key: Array, phase: Phase, rows: TrainingRows, subset: Array, sizes: Sizes) -> HostFeed:
    """Batches from the host, in the order in which they would be taken on the devices."""
    sample = parallel.wrap_step(_sample, rows.devices, phase=phase.traced)
    labels = rows.on_devices[1]
    order_of = lambda epoch: parallel.fetch(sample(key, np.int32(epoch), subset, labels), rows.devices)
    return HostFeed(rows, subset, lambda epoch: jax.tree.map(np.asarray, order_of(epoch)), sizes)


def _take_all(
    key: Array,
    phase: Phase,
    rows: TrainingRows,
    subset: np.ndarray,
    state: State,
    sizes: Sizes,
    on_epoch: Callable[[int, dict[str, float]], None],
    checkpoint: Checkpoint,
) -> State:
    """All steps of a phase after `init`; returns the last state on one device."""
    devices = rows.devices
    metrics = {name: jnp.zeros(sizes.num_batches, jnp.float32) for name in phase.metrics}
    start = checkpoint.restore((state, metrics))
    carry, fixed = parallel.replicate((start, (key, rows.spec, subset)), devices)
    key, spec, placed_subset = fixed
    steps = parallel.wrap_step(take_steps, devices, donate_argnums=(0, 1), phase=phase.traced, sizes=sizes)
    end_epoch = None
    if phase.end_epoch:
        end_epoch = parallel.wrap_step(_end_epoch, devices, donate_argnums=(0,), phase=phase.traced)
    host_feed = _open_host_feed(key, phase, rows, placed_subset, sizes) if sizes.batch_size and rows.streamed else None
    resident = Resident(*rows.on_devices, placed_subset)
    epoch_size = sizes.num_batches if sizes.batch_size else 1

    def advance(carry: tuple, position: int, stop: int) -> tuple[tuple, dict[str, np.ndarray]]:
        feed = resident if host_feed is None else host_feed.chunk(position)
        for each in (stop,) if sizes.in_loop else range(position + 1, stop + 1):
            carry = steps(*carry, np.int32(each), key, feed, spec)
        state, metrics = carry
        if end_epoch and stop % epoch_size == 0:
            state = end_epoch(state, np.int32(stop // epoch_size - 1), key)
        first = position % sizes.num_batches
        whole = {name: np.asarray(values) for name, values in parallel.fetch(metrics, devices).items()}
        seen.update(whole)
        return (state, metrics), {name: values[first : first + stop - position] for name, values in whole.items()}

    seen: dict[str, np.ndarray] = {}

    def report(stop: int, metrics: Mapping[str, np.ndarray]) -> None:
        if sizes.batch_size and stop % sizes.num_batches:
            return
        waiting = {} if host_feed is None else {"waiting": host_feed.waiting}
        if sizes.batch_size:
            means = {name: float(np.mean(values)) for name, values in seen.items()}
            on_epoch(stop // sizes.num_batches - 1, means | waiting)
            return
        length = len(next(iter(metrics.values())))
        for place in range(length):
            on_epoch(stop - length + place, {name: float(values[place]) for name, values in metrics.items()})

    describe = functools.partial(_describe, num_batches=epoch_size)
    position = int(parallel.fetch(carry[0].step, devices))
    loop = {"next_stop": sizes.next_stop, "describe": describe, "report": report, "offer": checkpoint.offer}
    try:
        carry = run_chunks(advance, carry, position=position, total=sizes.num_steps, **loop)
    finally:
        if host_feed is not None:
            host_feed.close()
    return parallel.fetch(carry[0], devices)


def _describe(step: int, num_batches: int) -> str:
    """Where a step was."""
    epoch, batch = divmod(step, num_batches)
    where = f"epoch {epoch}, batch {batch}" if num_batches > 1 else f"epoch {epoch}"
    return f"at step {step} ({where}); lower the learning rate"
