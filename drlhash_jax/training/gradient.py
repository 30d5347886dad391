"""The phase of most methods: an encoder learns by gradient steps on a loss of its outputs."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from drlhash_jax import parallel
from drlhash_jax.training.optimizer import make_optimizer
from drlhash_jax.training.phase import Batch, Phase, Start, State
from drlhash_jax.training.settings import TrainingSettings
from drlhash_jax.types import Array

# (outputs, Batch, extra, axis_name) -> this device's share of the loss, float32 scalar: the shares of all devices add
# up to the loss of the batch. Outputs are logits float32 [B, K], or whatever else the network returns in training.
Loss = Callable[[Any, Batch, Any, str | None], Array]


def loss_and_gradient(
    params: Mapping[str, Any],
    batch: Batch,
    extra: Any,
    key: Array,
    *,
    encoder: nn.Module,
    loss: Loss,
    axis_name: str | None = None,
) -> tuple[Array, dict, Array]:
    """The batch's loss, its gradient, and the outputs.

    Loss and gradient are independent of the number of devices up to rounding, but for dropout, which each device draws
    for itself.

    Args:
      params: of the encoder.
      batch: Batch of B rows, this device's share.
      extra: what else the loss looks at.
      key: PRNG key of the dropout, consumed; the same on all devices.
      encoder: module from normalised inputs to logits.
      loss: see `Loss`.
      axis_name: axis of the devices that share the batch; None for one device.

    Returns:
      The loss, float32 scalar, and the gradient, the same on all devices; and logits float32 ``[B, K]`` of this
      device's rows.
    """
    if parallel.num_shards(axis_name) > 1:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def share_of_loss(params):
        outputs = encoder.apply({"params": params}, batch.inputs, train=True, rngs={"dropout": key})
        return loss(outputs, batch, extra, axis_name), outputs

    (value, outputs), gradient = jax.value_and_grad(share_of_loss, has_aux=True)(parallel.vary(params, axis_name))
    return *parallel.total((value, gradient), axis_name), outputs


@functools.partial(jax.jit, static_argnames="encoder")
def _init_params(key, sample, *, encoder):
    return encoder.init(key, sample)["params"]


def start_from(params: Mapping[str, Any], pretrained: Mapping[str, Any]) -> dict:
    """Parameters with some layers replaced by copies of pretrained ones, of equal names and shapes.

    Copies, because a training step gives the memory of its parameters away.
    """
    for layer, values in pretrained.items():
        chex.assert_trees_all_equal_shapes_and_dtypes(values, params[layer])
    return dict(params) | jax.tree.map(lambda x: jnp.array(x, copy=True), dict(pretrained))


def _optimizer(settings: TrainingSettings, num_steps: int) -> optax.GradientTransformation:
    return make_optimizer(
        settings.optimizer,
        settings.learning_rate,
        settings.head_learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        num_steps=num_steps,
    )


def gradient_phase(
    encoder: nn.Module,
    settings: TrainingSettings,
    loss: Loss,
    *,
    init_extra: Callable[[Array, Start], Any] = lambda key, start: None,
    update_extra: Callable[..., Any] = lambda extra, outputs, batch, axis_name: extra,
    **hooks: Callable,
) -> Phase:
    """A phase that trains an encoder.

    Args:
      encoder: module from normalised inputs to logits ``[B, K]``, or to what the loss wants. A method that puts layers
        on top of an encoder shares its scope (`flax.linen.share_scope`), so that published weights and learning rates
        find its layers, and calls its own "head_...".
      settings: TrainingSettings.
      loss: see `Loss`.
      init_extra: (key, Start) -> what else the loss looks at.
      update_extra: (extra, outputs of this device's rows, Batch, axis_name) -> extra after a step, the same on all
        devices.
      **hooks: other functions of `Phase`: end_epoch, sample_rows, finish.

    Returns:
      The Phase, named "encoder".
    """

    def init(key: Array, start: Start) -> State:
        # The loop takes the other half of the key.
        init_key, _ = jax.random.split(key)
        sample = start.prepared(start.subset[:1])
        drawn = jax.eval_shape(encoder.init, init_key, sample)["params"]
        if not set(drawn) <= set(start.pretrained):
            drawn = _init_params(init_key, sample, encoder=encoder)
        params = start_from(drawn, start.pretrained)
        opt_state = _optimizer(settings, 1).init(params)
        return State(jnp.zeros((), jnp.int32), params, opt_state, init_extra(key, start))

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        value, gradient, outputs = loss_and_gradient(
            state.params, batch, state.extra, key, encoder=encoder, loss=loss, axis_name=axis_name
        )
        updates, opt_state = _optimizer(settings, num_steps).update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        extra = update_extra(state.extra, outputs, batch, axis_name)
        return state.replace(params=params, opt_state=opt_state, extra=extra), {"loss": value}

    sizes = settings.num_epochs, settings.batch_size
    return Phase("encoder", *sizes, init, step, max_shift=settings.max_shift, **hooks)
