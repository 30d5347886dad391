"""Stage 1: target codes from labels by full-batch Adam on latent V, Z = tanh(V) (thesis Alg. 1, Eq. 3.2-3.10)."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drlhash_jax.target_codes.labels import LabelSets, find_label_sets
from drlhash_jax.target_codes.similarity_loss import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    quantisation_loss,
)
from drlhash_jax.types import Array

PATHS = ("auto", "exact", "blockwise")


class TargetCodeSettings(NamedTuple):
    """Settings of stage 1.

    Attributes:
      num_epochs: gradient steps, one an epoch.
      learning_rate: of Adam; 1.0 (thesis 4.1) saturates tanh at 64 bits, 0.1 does not.
      quantisation_weight: final weight of || |Z| - 1 ||^2, ramped linearly from 0.
      init_scale: standard deviation of the initial V.
      path: "exact", "blockwise", or "auto" for whichever is cheaper.
      block_height: rows of a block of S.
      block_width: columns of a block of S.
    """

    num_epochs: int = 600
    learning_rate: float = 0.1
    quantisation_weight: float = 0.1
    init_scale: float = 0.1
    path: str = "auto"
    block_height: int = 500
    block_width: int = 500


class TargetCodes(NamedTuple):
    """What stage 1 returns.

    Attributes:
      codes: uint8 ``[n, K]`` of {0, 1}.
      loss: float32 ``[num_epochs]``, the loss before each step.
      path: "exact" or "blockwise", the one taken.
    """

    codes: np.ndarray
    loss: np.ndarray
    path: str


def choose_path(path: str, label_sets: LabelSets) -> str:
    """Resolves "auto": exact when sets are disjoint, or when their pairs are at most a third of the rows' pairs."""
    if path != "auto":
        return path
    num_rows, num_sets = len(label_sets.members), len(label_sets.sets)
    return "exact" if label_sets.disjoint or 3 * num_sets**2 <= num_rows**2 else "blockwise"


def _fit(value: Callable, v: Array, settings: TargetCodeSettings) -> tuple[Array, Array]:
    """All epochs of Adam on the latent codes, as one scan; returns V and the loss curve."""
    optimizer = optax.adam(settings.learning_rate)
    ramp = jnp.linspace(0.0, settings.quantisation_weight, settings.num_epochs)

    def objective(v: Array, weight: Array) -> Array:
        z = jnp.tanh(v)
        return value(z) + weight * quantisation_loss(z)

    def epoch(carry, weight):
        v, opt_state = carry
        loss, gradient = jax.value_and_grad(objective)(v, weight)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(v, updates), opt_state), loss

    (v, _), losses = jax.lax.scan(epoch, (v, optimizer.init(v)), ramp)
    return v, losses


@functools.partial(jax.jit, static_argnames=("disjoint", "settings"), donate_argnums=0)
def _fit_exact(v: Array, members: Array, sets: Array, *, disjoint: bool, settings: TargetCodeSettings):
    value = lambda z: exact_similarity_loss(z, members, sets, disjoint=disjoint)
    return _fit(value, v, settings)


@functools.partial(jax.jit, static_argnames="settings", donate_argnums=0)
def _fit_blockwise(v: Array, labels: Array, *, settings: TargetCodeSettings):
    value = lambda z: blockwise_similarity_loss(z, labels, height=settings.block_height, width=settings.block_width)
    return _fit(value, v, settings)


def infer_target_codes(key: Array, labels: np.ndarray, num_bits: int, settings: TargetCodeSettings) -> TargetCodes:
    """Learns one code a training row such that codes agree exactly when labels are shared (thesis Alg. 1).

    Args:
      key: PRNG key, consumed.
      labels: integer ``[n]`` (negative: no label) or multi-hot ``[n, C]``.
      num_bits: K.
      settings: TargetCodeSettings.

    Returns:
      TargetCodes; bit 1 iff z >= 0.

    Raises:
      ValueError: unknown path.
    """
    if settings.path not in PATHS:
        raise ValueError(f"path={settings.path!r}: choose one of {', '.join(PATHS)}")
    label_sets = find_label_sets(labels)
    path = choose_path(settings.path, label_sets)
    v = settings.init_scale * jax.random.normal(key, (len(labels), num_bits), jnp.float32)
    if path == "exact":
        members, sets = jnp.asarray(label_sets.members), jnp.asarray(label_sets.sets)
        v, losses = _fit_exact(v, members, sets, disjoint=label_sets.disjoint, settings=settings)
    else:
        multi_hot = jnp.asarray(label_sets.sets[label_sets.members])
        v, losses = _fit_blockwise(v, multi_hot, settings=settings)
    return TargetCodes(np.asarray(v >= 0).astype(np.uint8), np.asarray(losses), path)
