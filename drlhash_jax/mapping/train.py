"""Stage 2: an encoder learns the target codes of its training rows (thesis Alg. 2)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.mapping.augment import random_flip_and_shift
from drlhash_jax.mapping.loss import binary_cross_entropy
from drlhash_jax.mapping.optimizer import make_optimizer
from drlhash_jax.types import Array, TrainState


class MappingSettings(NamedTuple):
    """Settings of stage 2; see `make_optimizer` for the optimiser's.

    Attributes:
      num_epochs: passes over the training rows.
      batch_size: rows a step.
      max_shift: pixels of the random shift of images; a negative value turns augmentation off.
    """

    num_epochs: int = 100
    batch_size: int = 32
    optimizer: str = "momentum"
    learning_rate: float = 1e-5
    head_learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    max_shift: int = -1


class Batch(NamedTuple):
    """Rows of one step.

    Attributes:
      inputs: as stored, ``[B, ...]``.
      codes: uint8 ``[B, K]`` target codes.
      weights: float32 ``[B]``, 0 marking padding.
    """

    inputs: Array
    codes: Array
    weights: Array


def train_step(
    state: TrainState,
    batch: Batch,
    key: Array,
    *,
    encoder: nn.Module,
    optimizer: optax.GradientTransformation,
    prepare: Callable[[Array], Array],
    max_shift: int,
) -> tuple[TrainState, Array]:
    """One gradient step.

    Args:
      state: TrainState.
      batch: Batch of B rows.
      key: PRNG key, consumed.
      encoder: module from normalised inputs to logits.
      optimizer: of the parameters.
      prepare: normalises stored inputs.
      max_shift: see `MappingSettings`.

    Returns:
      The next state and the batch's loss, float32 scalar.
    """
    dropout_key, augment_key = jax.random.split(key)
    x = prepare(batch.inputs)
    if max_shift >= 0:
        x = random_flip_and_shift(augment_key, x, max_shift)

    def loss(params):
        logits = encoder.apply({"params": params}, x, train=True, rngs={"dropout": dropout_key})
        return binary_cross_entropy(logits, batch.codes, batch.weights)

    value, gradient = jax.value_and_grad(loss)(state.params)
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


@functools.partial(
    jax.jit, static_argnames=("encoder", "optimizer", "image_size", "batch_size", "max_shift"), donate_argnums=0
)
def _train_epoch(
    state, key, inputs, codes, rows, mean, scale, *, encoder, optimizer, image_size, batch_size, max_shift
):
    """All steps of one epoch as a scan; returns the state and the mean loss."""
    order_key, steps_key = jax.random.split(key)
    batches, weights = epoch_batches(order_key, rows, batch_size)
    prepare = functools.partial(prepare_inputs, mean=mean, scale=scale, image_size=image_size)

    def step(state, scanned):
        picked, weight, index = scanned
        batch = Batch(inputs[picked], codes[picked], weight)
        return train_step(
            state,
            batch,
            jax.random.fold_in(steps_key, index),
            encoder=encoder,
            optimizer=optimizer,
            prepare=prepare,
            max_shift=max_shift,
        )

    state, losses = jax.lax.scan(step, state, (batches, weights, jnp.arange(batches.shape[0])))
    return state, jnp.mean(losses)


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
    settings: MappingSettings,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    pretrained: dict | None = None,
) -> dict:
    """Trains an encoder on some rows.

    Args:
      key: PRNG key, consumed.
      encoder: a module of `encoders`.
      inputs: ``[N, ...]`` as stored.
      codes: uint8 ``[N, K]`` target codes.
      rows: int ``[n]``, the rows to train on.
      spec: normalisation of the inputs.
      settings: MappingSettings.
      on_epoch: called with the epoch's number and mean loss.
      pretrained: layer -> parameters to start from, left as they are; the other layers start at random.

    Returns:
      The parameters.

    Raises:
      FloatingPointError: the loss stopped being a finite number.
    """
    init_key, epochs_key = jax.random.split(key)
    num_steps = settings.num_epochs * -(-len(rows) // settings.batch_size)
    optimizer = _shared_optimizer(
        settings.optimizer,
        settings.learning_rate,
        settings.head_learning_rate,
        settings.momentum,
        settings.weight_decay,
        settings.schedule,
        num_steps,
    )
    sample = prepare_inputs(jnp.asarray(inputs[:1]), spec.mean, spec.scale, spec.image_size)
    params = start_from(_init_params(init_key, sample, encoder=encoder), pretrained or {})
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params))
    inputs, codes, rows = jnp.asarray(inputs), jnp.asarray(codes), jnp.asarray(rows, jnp.int32)
    for epoch in range(settings.num_epochs):
        state, loss = _train_epoch(
            state,
            jax.random.fold_in(epochs_key, epoch),
            inputs,
            codes,
            rows,
            spec.mean,
            spec.scale,
            encoder=encoder,
            optimizer=optimizer,
            image_size=spec.image_size,
            batch_size=settings.batch_size,
            max_shift=settings.max_shift if spec.kind == "images" else -1,
        )
        loss = float(loss)
        if not np.isfinite(loss):
            raise FloatingPointError(f"mapping: the loss is {loss} in epoch {epoch}; lower the learning rate")
        on_epoch(epoch, loss)
    return state.params


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
