"""A network whose codes of queries find old rows and new ones: DIHN's loss, of a sample of both.

The loss needs every row of the sample in every step, but only by two sums, which are constant while codes are:

    sum_j (u . b_j - K S_ij)^2 = u^T G u - 2 K u . t_i + K^2 sum_j S_ij^2,   G = sum_j b_j b_j^T,  t_i = sum_j S_ij b_j.

So a step costs the same whatever the size of the sample. Where the old model has a trained trunk, it stays, its
features are computed once, and only a new head learns; elsewhere the whole network does.

Chosen on held-out training rows of CIFAR-10 embeddings (7 + 3 classes, one split), mAP of all and of new-class queries:
six epochs of the head give .756 and .814 at 12 bits, .791 and .845 at 32, where training again gives .765 and .808,
.800 and .840. A rate of 2e-3 gives .762 and .825 at 12 bits. New codes that follow the old network's outputs in place
of the old codes (`codes.py`) make new classes collide with old ones: .717 and .631 at 12 bits, with the whole network
trained. L-BFGS on all rows of the sample was slower at every quality: .743 at 12 bits after 80 evaluations, which took
ten times as long.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from drlhash_jax.encoders import InputSpec
from drlhash_jax.growth.codes import class_ratio
from drlhash_jax.methods.dihn import DIHNSettings, unbalance
from drlhash_jax.training import (
    Batch,
    TrainingSettings,
    encode_logits,
    gradient_phase,
    place_rows,
    run_phase,
    weighted_mean,
)
from drlhash_jax.types import Array


class Sample(NamedTuple):
    """Rows that the network learns from.

    Attributes:
      inputs: ``[n, ...]`` as stored.
      labels: uint8 multi-hot ``[n, C]``.
      codes: uint8 ``[n, K]`` of {0, 1}.
    """

    inputs: Any
    labels: np.ndarray
    codes: np.ndarray


@struct.dataclass
class Wanted:
    """What the loss knows of the n rows; see the formula above.

    Attributes:
      codes: float32 ``[n, K]`` of {-1, 1}.
      gram: float32 ``[K, K]``, G / n.
      targets: float32 ``[n, K]``, t / n.
      constants: float32 ``[n]``, K^2 sum_j S_ij^2 / n.
    """

    codes: Array
    gram: Array
    targets: Array
    constants: Array


def wanted_of(labels: np.ndarray, codes: np.ndarray) -> Wanted:
    """Sums over all rows of a sample, of labels multi-hot ``[n, C]`` and codes {0, 1} ``[n, K]``."""
    signs = 2.0 * codes.astype(np.float32) - 1.0
    num_rows, num_bits = signs.shape
    sets, numbers = np.unique(labels != 0, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    counts, sums = np.bincount(numbers).astype(np.float32), np.zeros((len(sets), num_bits), np.float32)
    np.add.at(sums, numbers, signs)
    similar = sets.astype(np.float32) @ sets.T.astype(np.float32) > 0
    soft = np.where(similar, 1.0, -class_ratio(counts, similar)).astype(np.float32)
    targets, constants = soft @ sums / num_rows, num_bits**2 * (soft**2 @ counts) / num_rows
    return Wanted(signs, signs.T @ signs / num_rows, targets[numbers], constants[numbers])


def incremental_loss(
    logits: Array, batch: Batch, wanted: Wanted, axis_name: str | None, *, settings: DIHNSettings
) -> Array:
    """This device's share of DIHN's loss of a batch, divided by the number of rows of the sample."""
    u = jnp.tanh(logits)
    codes, num_rows = wanted.codes[batch.rows], wanted.codes.shape[0]
    products = jnp.sum((u @ wanted.gram) * u, axis=1) - 2.0 * u.shape[1] * jnp.sum(
        u * wanted.targets[batch.rows], axis=1
    )
    own = settings.gamma * jnp.sum((codes - u) ** 2, axis=1) / num_rows
    per_row = products + wanted.constants[batch.rows] + own
    return (
        weighted_mean(per_row, batch.weights, axis_name)
        + settings.balance_weight * unbalance(u, batch, axis_name) / num_rows
    )


def _stop_before_head(call: Any, arguments: tuple, options: dict, context: nn.module.InterceptorContext) -> Any:
    is_head = context.module.name == "head" and context.method_name == "__call__"
    return arguments[0] if is_head else call(*arguments, **options)


@functools.lru_cache
def trunk(encoder: nn.Module) -> Any:
    """Function of parameters and normalised inputs: what an encoder's last layer reads, float32 ``[B, H]``."""

    def features(params: Mapping[str, Any], x: Array) -> Array:
        with nn.intercept_methods(_stop_before_head):
            return encoder.apply({"params": params}, x, train=False).astype(jnp.float32)

    return features


class Start(NamedTuple):
    """Where the new network begins.

    Attributes:
      params: layer -> parameters of an old network of the same kind; those of the head may be missing, and no layer
        at all stands for a random start.
      has_trunk: whether all layers below the head are there.
    """

    params: dict[str, Any]
    has_trunk: bool


@functools.lru_cache
def _phase(encoder: nn.Module, training: TrainingSettings, settings: DIHNSettings) -> Any:
    return gradient_phase(
        encoder,
        training,
        functools.partial(incremental_loss, settings=settings),
        init_extra=lambda key, begin: jax.tree.map(jnp.asarray, begin.before["wanted"]),
    )


@functools.partial(jax.jit, static_argnames=("settings", "rate"))
def _head_steps(
    head: dict[str, Array], features: Array, wanted: Wanted, rows: Array, *, settings: DIHNSettings, rate: float
) -> dict[str, Array]:
    """The last layer after steps of Adam on features float32 ``[n, H]``; rows int32 ``[steps, B]`` are the batches."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, len(rows)))

    def step(carry: tuple, rows: Array) -> tuple:
        head, state = carry
        batch = Batch(None, None, rows, jnp.ones(rows.shape, jnp.float32))
        loss = lambda head: incremental_loss(
            features[rows] @ head["kernel"] + head["bias"], batch, wanted, None, settings=settings
        )
        updates, state = optimizer.update(jax.grad(loss)(head), state)
        return (optax.apply_updates(head, updates), state), None

    return jax.lax.scan(step, (head, optimizer.init(head)), rows)[0][0]


def train_head(
    seed: int, head: Mapping[str, Any], features: np.ndarray, wanted: Wanted, training: TrainingSettings, settings
) -> dict[str, np.ndarray]:
    """A last layer, by DIHN's loss.

    It is one program, without draws and sorting, because little is learnt: what the loop of all methods compiles would
    take longer than its steps.

    Args:
      seed: of the order of the rows.
      head: kernel float32 ``[H, K]`` and bias ``[K]`` to begin with; empty for zeros.
      features: float32 ``[n, H]``.
      wanted: Wanted of these rows.
      training: epochs, rows per step (as many as there are, if fewer; what is left over sits an epoch out) and rate.
      settings: DIHNSettings.
    """
    num_rows, width = features.shape
    num_bits = wanted.codes.shape[1]
    size = min(training.batch_size, num_rows)
    rng = np.random.default_rng(seed)
    order = [rng.permutation(num_rows)[: num_rows // size * size].reshape(-1, size) for _ in range(training.num_epochs)]
    begin = dict(head) or {"kernel": np.zeros((width, num_bits), np.float32), "bias": np.zeros(num_bits, np.float32)}
    rows, rate = np.concatenate(order).astype(np.int32), training.head_learning_rate
    return jax.tree.map(np.asarray, _head_steps(begin, features, wanted, rows, settings=settings, rate=rate))


def train_network(
    seed: int,
    encoder: nn.Module,
    start: Start,
    sample: Sample,
    spec: InputSpec,
    training: TrainingSettings,
    settings: DIHNSettings,
) -> dict[str, Any]:
    """Parameters of the encoder.

    Args:
      seed: of all that is random.
      encoder: with K outputs.
      start: Start; with a trunk, only the head learns.
      sample: Sample of old and new rows.
      spec: normalisation of the inputs.
      training: TrainingSettings.
      settings: DIHNSettings, for the weights of the loss.
    """
    wanted = wanted_of(sample.labels, sample.codes)
    if start.has_trunk:
        features = encode_logits(trunk(encoder), start.params, sample.inputs, spec)
        head = train_head(seed, start.params.get("head", {}), features, wanted, training, settings)
        return start.params | {"head": head}
    rows = place_rows(sample.inputs, np.zeros(len(sample.codes), np.int32), spec)
    phase = _phase(encoder, training, settings)
    return run_phase(jax.random.key(seed), phase, rows, before={"wanted": wanted})["params"]
