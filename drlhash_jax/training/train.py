"""Stage 2: an encoder learns the target codes of its training rows (thesis Alg. 2)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.training.augment import random_views
from drlhash_jax.training.loss import binary_cross_entropy
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training.optimizer import OPTIMIZERS, SCHEDULES, make_optimizer
from drlhash_jax.types import NO_CHECKPOINT, Array, Checkpoint, TrainState

# Steps of a network of images between two looks at its losses; few enough for a signal to be heeded soon.
_STEPS_A_LOOK = 8


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Settings):
    """Settings of training an encoder; see `make_optimizer` for the optimiser's."""

    num_epochs: int = setting(100, "passes over the training rows", least=1, most=1_000_000)
    batch_size: int = setting(32, "rows per step, on all devices together", least=1, most=1_000_000)
    optimizer: str = setting("momentum", "sgd, momentum or adam", choices=OPTIMIZERS)
    learning_rate: float = setting(1e-5, "of every layer but the last; 0 leaves them as they are", least=0.0, most=1e6)
    head_learning_rate: float = setting(1e-4, "of the last layer", least=0.0, most=1e6)
    momentum: float = setting(0.9, "of momentum", least=0.0, most=1.0)
    weight_decay: float = setting(0.0, "L2 penalty of kernels, decoupled for adam", least=0.0, most=1e3)
    schedule: str = setting("constant", "constant, or cosine to zero", choices=SCHEDULES)
    max_shift: int = setting(
        -1, "pixels off the centre of random views, which are also mirrored; -1 for no augmentation", least=-1, most=512
    )


class Batch(NamedTuple):
    """Rows of one step.

    Attributes:
      inputs: float32 ``[B, ...]``, what the network sees.
      codes: uint8 ``[B, K]`` target codes.
      weights: float32 ``[B]``, 0 marking padding.
    """

    inputs: Array
    codes: Array
    weights: Array


def loss_and_gradient(
    params: dict,
    batch: Batch,
    key: Array,
    *,
    encoder: nn.Module,
    axis_name: str | None = None,
) -> tuple[Array, dict]:
    """The batch's loss and its gradient.

    Both are independent of the number of devices up to rounding, but for dropout, which each device draws for itself.

    Args:
      params: of the encoder.
      batch: Batch of B rows, this device's share.
      key: PRNG key of the dropout, consumed; the same on all devices.
      encoder: module from normalised inputs to logits.
      axis_name: axis of the devices that share the batch; None for one device.

    Returns:
      The loss, float32 scalar, and the gradient; the same on all devices.
    """
    if parallel.num_shards(axis_name) > 1:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def share_of_loss(params):
        logits = encoder.apply({"params": params}, batch.inputs, train=True, rngs={"dropout": key})
        return binary_cross_entropy(logits, batch.codes, batch.weights, axis_name)

    return parallel.total(jax.value_and_grad(share_of_loss)(parallel.vary(params, axis_name)), axis_name)


def train_step(
    state: TrainState, batch: Batch, key: Array, *, optimizer: optax.GradientTransformation, **settings: Any
) -> tuple[TrainState, Array]:
    """One gradient step.

    Args:
      state: TrainState, the same on all devices.
      batch: Batch, this device's share.
      key: PRNG key, consumed.
      optimizer: of the parameters.
      **settings: keywords of `loss_and_gradient`.

    Returns:
      The next state and the batch's loss, float32 scalar.
    """
    value, gradient = loss_and_gradient(state.params, batch, key, **settings)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(step=state.step + 1, params=params, opt_state=opt_state), value


def epoch_batches(key: Array, rows: Array, batch_size: int) -> tuple[Array, Array]:
    """A random order of the rows, cut into batches.

    Args:
      key: PRNG key, consumed.
      rows: int32 ``[n]``, row numbers.
      batch_size: B.

    Returns:
      Row numbers int32 ``[M, B]`` and weights float32 ``[M, B]``; the last batch is filled up with weight 0.
    """
    num_rows = rows.shape[0]
    num_batches = -(-num_rows // batch_size)
    filling = num_batches * batch_size - num_rows
    order = jnp.pad(jax.random.permutation(key, rows), (0, filling))
    weights = jnp.arange(num_batches * batch_size) < num_rows
    return order.reshape(num_batches, batch_size), weights.astype(jnp.float32).reshape(num_batches, batch_size)


def train_steps(
    state: TrainState,
    losses: Array,
    last: Array,
    key: Array,
    inputs: Array,
    codes: Array,
    rows: Array,
    mean: Array,
    scale: Array,
    *,
    encoder: nn.Module,
    optimizer: optax.GradientTransformation,
    image_size: int | None,
    crop_size: int | None,
    batch_size: int,
    max_shift: int,
    in_loop: bool,
    axis_name: str | None = None,
) -> tuple[TrainState, Array]:
    """Steps of one epoch, each batch divided among the devices.

    The number of steps is an argument: a training that is cut into calls in any way is the same program, and ends in
    the same bits.

    Args:
      state: TrainState; its step tells the epoch and the first batch.
      losses: float32 ``[M]`` of the epoch's batches so far.
      last: int32 scalar, the step to stop before, in the same epoch; without a loop, the one after the first.
      key: PRNG key of the whole training: epoch e uses fold_in(key, e).
      inputs: ``[N, ...]`` as stored.
      codes: uint8 ``[N, K]`` target codes.
      rows: int32 ``[n]``, the rows to train on.
      mean: see `InputSpec`, like scale, image_size and crop_size.
      scale: likewise.
      encoder: module from normalised inputs to logits.
      optimizer: of the parameters.
      image_size: likewise.
      crop_size: likewise.
      batch_size: rows a step on all devices together, a multiple of their number.
      max_shift: see `TrainingSettings`.
      in_loop: whether this is a loop. Small steps of features want one; on the CPU, XLA runs convolutions in a loop on
        one core and without its fast kernels, 25 to 70 times slower.
      axis_name: axis of the devices; None for one.

    Returns:
      The state after the steps, and the losses with theirs filled in.
    """
    epoch, first = jnp.divmod(state.step, losses.shape[0])
    order_key, steps_key, views_key = jax.random.split(jax.random.fold_in(key, epoch), 3)
    batches = epoch_batches(order_key, rows, batch_size)
    picked, weights = parallel.local_rows(batches, axis_name, axis=1)
    settings = {"encoder": encoder, "optimizer": optimizer, "axis_name": axis_name}

    def see(rows: Array) -> Array:
        if max_shift < 0:
            return prepare_inputs(inputs[rows], mean, scale, image_size, crop_size)
        return random_views(
            views_key, rows, prepare_inputs(inputs[rows], mean, scale, image_size), max_shift, crop_size
        )

    def step(index, carry):
        state, losses = carry
        batch = Batch(see(picked[index]), codes[picked[index]], weights[index])
        state, loss = train_step(state, batch, jax.random.fold_in(steps_key, index), **settings)
        return state, losses.at[index].set(loss)

    if not in_loop:
        return step(first, (state, losses))
    return jax.lax.fori_loop(first, last - epoch * losses.shape[0], step, (state, losses))


@functools.partial(jax.jit, static_argnames="encoder")
def _init_params(key, sample, *, encoder):
    return encoder.init(key, sample)["params"]


def start_from(params: dict, pretrained: dict) -> dict:
    """Parameters with some layers replaced by copies of pretrained ones, of equal names and shapes.

    Copies, because a training step gives the memory of its parameters away.
    """
    for layer, values in pretrained.items():
        chex.assert_trees_all_equal_shapes_and_dtypes(values, params[layer])
    return params | jax.tree.map(lambda x: jnp.array(x, copy=True), pretrained)


def fit_encoder(
    key: Array,
    encoder: nn.Module,
    inputs: Array,
    codes: Array,
    rows: np.ndarray,
    spec: InputSpec,
    settings: TrainingSettings,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    pretrained: dict | None = None,
    devices: parallel.Devices | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> dict:
    """Trains an encoder on some rows.

    Args:
      key: PRNG key, consumed.
      encoder: a module of `encoders`.
      inputs: ``[N, ...]`` as stored.
      codes: uint8 ``[N, K]`` target codes.
      rows: int ``[n]``, the rows to train on.
      spec: normalisation of the inputs.
      settings: TrainingSettings.
      on_epoch: called with the epoch's number and mean loss.
      pretrained: layer -> parameters to start from, left as they are; the other layers start at random.
      devices: that share each batch; None for the default device.
      checkpoint: asked after every few steps, see `Checkpoint`.

    Returns:
      The parameters.

    Raises:
      FloatingPointError: the loss stopped being a finite number.
    """
    init_key, epochs_key = jax.random.split(key)
    num_batches = -(-len(rows) // settings.batch_size)
    num_steps = settings.num_epochs * num_batches
    optimizer = _shared_optimizer(
        settings.optimizer,
        settings.learning_rate,
        settings.head_learning_rate,
        settings.momentum,
        settings.weight_decay,
        settings.schedule,
        num_steps,
    )
    sample = prepare_inputs(jnp.asarray(inputs[:1]), spec.mean, spec.scale, spec.image_size, spec.crop_size)
    params = start_from(_init_params(init_key, sample, encoder=encoder), pretrained or {})
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params))
    start = jax.random.key_data(epochs_key), state, jnp.zeros(num_batches, jnp.float32)
    key_data, state, losses = checkpoint.restore(start)
    fixed = (inputs, codes, np.asarray(rows, np.int32), spec.mean, spec.scale)
    fixed = (jax.random.wrap_key_data(jnp.asarray(key_data)), *fixed)
    state, losses, fixed = parallel.replicate((state, losses, fixed), devices)
    steps = parallel.wrap_step(
        train_steps,
        devices,
        donate_argnums=(0, 1),
        encoder=encoder,
        optimizer=optimizer,
        image_size=spec.image_size,
        crop_size=spec.crop_size,
        batch_size=settings.batch_size,
        max_shift=settings.max_shift if spec.kind == "images" else -1,
        in_loop=spec.kind == "features",
    )
    steps_a_look = _STEPS_A_LOOK if spec.kind == "images" else num_batches
    position = int(parallel.fetch(state.step, devices))
    while position < num_steps:
        epoch, first = divmod(position, num_batches)
        last = min(position + steps_a_look, (epoch + 1) * num_batches)
        for stop in (last,) if spec.kind == "features" else range(position + 1, last + 1):
            state, losses = steps(state, losses, np.int32(stop), *fixed)
        values = np.asarray(parallel.fetch(losses, devices))
        _check_finite(values[first : first + last - position], epoch, first, num_batches)
        position = last
        if position % num_batches == 0:
            on_epoch(epoch, float(np.mean(values)))
        checkpoint.offer(position, (key_data, state, losses))
    return parallel.fetch(state.params, devices)


def _check_finite(losses: np.ndarray, epoch: int, first: int, num_batches: int) -> None:
    """Raises FloatingPointError for the first batch whose loss is not a number."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        batch = first + int(bad[0])
        raise FloatingPointError(
            f"the loss is {losses[bad[0]]} at step {epoch * num_batches + batch} (epoch {epoch}, batch {batch}); "
            "lower the learning rate"
        )


@functools.cache
def _shared_optimizer(name, learning_rate, head_learning_rate, momentum, weight_decay, schedule, num_steps):
    """The same object for the same settings, so that cross-fitted encoders share one compiled epoch."""
    return make_optimizer(
        name,
        learning_rate,
        head_learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        num_steps=num_steps,
    )
