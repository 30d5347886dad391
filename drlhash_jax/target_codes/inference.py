"""Stage 1: target codes from labels by full-batch Adam on latent V, Z = tanh(V) (thesis Alg. 1, Eq. 3.2-3.10)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drlhash_jax import parallel
from drlhash_jax.settings import Settings, setting
from drlhash_jax.target_codes.labels import LabelSets, find_label_sets
from drlhash_jax.target_codes.similarity_loss import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    quantisation_loss,
)
from drlhash_jax.types import NO_CHECKPOINT, Array, Checkpoint

PATHS = ("auto", "exact", "blockwise")
_EPOCHS_A_CALL = 20


@dataclasses.dataclass(frozen=True)
class TargetCodeSettings(Settings):
    """Settings of stage 1."""

    num_epochs: int = setting(600, "gradient steps", least=1, most=1_000_000)
    learning_rate: float = setting(
        0.1, "of Adam; 1.0 (thesis 4.1) saturates tanh at 64 bits, 0.1 does not", least=0.0, most=1e3
    )
    quantisation_weight: float = setting(
        0.1, "final weight of || |Z| - 1 ||^2, ramped linearly from 0", least=0.0, most=1e6
    )
    init_scale: float = setting(0.1, "standard deviation of the initial V", least=1e-6, most=1e3)
    path: str = setting("auto", "exact, blockwise, or auto for whichever is cheaper", choices=PATHS)
    block_height: int = setting(500, "h, rows of a block of S", least=1, most=65_536)
    block_width: int = setting(500, "w, columns of a block of S", least=1, most=65_536)


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


class TargetCodeState(NamedTuple):
    """Everything that stage 1 changes.

    Attributes:
      epoch: int32 scalar, gradient steps done.
      v: float32 ``[n, K]``, latent codes.
      opt_state: of Adam.
      losses: float32 ``[num_epochs]``, those of the steps done.
    """

    epoch: Array
    v: Array
    opt_state: tuple
    losses: Array


def _fit(
    value: Callable,
    state: TargetCodeState,
    last: Array,
    num_rows: int,
    settings: TargetCodeSettings,
    axis_name: str | None,
) -> TargetCodeState:
    """Steps of Adam on this device's latent codes until `last` are done; returns the state of all rows."""
    optimizer = optax.adam(settings.learning_rate)
    ramp = jnp.linspace(0.0, settings.quantisation_weight, settings.num_epochs)

    def objective(v: Array, weight: Array) -> Array:
        z = jnp.tanh(v)
        return value(z) + weight * quantisation_loss(z, num_rows=num_rows, axis_name=axis_name)

    def step(epoch, carry):
        v, opt_state, losses = carry
        loss, gradient = jax.value_and_grad(objective)(v, ramp[epoch])
        updates, opt_state = optimizer.update(gradient, opt_state)
        return optax.apply_updates(v, updates), opt_state, losses.at[epoch].set(loss)

    # Adam's moments have a row for each of V's, its counter has none.
    share = lambda tree: jax.tree.map(lambda x: parallel.local_rows(x, axis_name) if x.ndim else x, tree)
    whole = lambda tree: jax.tree.map(lambda x: parallel.gather_rows(x, axis_name) if x.ndim else x, tree)
    start = share(state.v), share(state.opt_state), state.losses
    v, opt_state, losses = jax.lax.fori_loop(state.epoch, last, step, start)
    return TargetCodeState(last, whole(v), whole(opt_state), losses)


def _fit_exact(
    state: TargetCodeState,
    last: Array,
    members: Array,
    sets: Array,
    *,
    disjoint: bool,
    num_rows: int,
    settings: TargetCodeSettings,
    axis_name: str | None,
):
    members = parallel.local_rows(members, axis_name)
    shared = {"disjoint": disjoint, "num_rows": num_rows, "axis_name": axis_name}
    value = lambda z: exact_similarity_loss(z, members, sets, **shared)
    return _fit(value, state, last, num_rows, settings, axis_name)


def _fit_blockwise(
    state: TargetCodeState,
    last: Array,
    labels: Array,
    *,
    num_rows: int,
    settings: TargetCodeSettings,
    axis_name: str | None,
):
    labels = parallel.local_rows(labels, axis_name)
    shared = {"height": settings.block_height, "width": settings.block_width}
    value = lambda z: blockwise_similarity_loss(z, labels, num_rows=num_rows, axis_name=axis_name, **shared)
    return _fit(value, state, last, num_rows, settings, axis_name)


def infer_target_codes(
    key: Array,
    labels: np.ndarray,
    num_bits: int,
    settings: TargetCodeSettings,
    devices: parallel.Devices | None = None,
    on_call: Callable[[int, float], None] = lambda done, loss: None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> TargetCodes:
    """Learns one code a training row such that codes agree exactly when labels are shared (thesis Alg. 1).

    Args:
      key: PRNG key, consumed.
      labels: integer ``[n]`` (negative: no label) or multi-hot ``[n, C]``.
      num_bits: K.
      settings: TargetCodeSettings.
      devices: that share the rows; None for the default device.
      on_call: called after each call of the compiled steps with the number of epochs done and the last loss.
      checkpoint: asked likewise, see `Checkpoint`.

    Returns:
      TargetCodes; bit 1 iff z >= 0.

    Raises:
      ValueError: unknown path.
      FloatingPointError: the loss stopped being a finite number.
    """
    if settings.path not in PATHS:
        raise ValueError(f"path={settings.path!r}: choose one of {', '.join(PATHS)}")
    label_sets = find_label_sets(labels)
    path = choose_path(settings.path, label_sets)
    num_rows = len(labels)
    filling = 0 if devices is None else -num_rows % devices.mesh.size
    v = settings.init_scale * jax.random.normal(key, (num_rows, num_bits), jnp.float32)
    v = jnp.pad(v, ((0, filling), (0, 0)))
    opt_state = optax.adam(settings.learning_rate).init(v)
    state = TargetCodeState(jnp.zeros((), jnp.int32), v, opt_state, jnp.zeros(settings.num_epochs, jnp.float32))
    fit = functools.partial(parallel.wrap_step, devices=devices, donate_argnums=(0,), num_rows=num_rows)
    if path == "exact":
        members = np.pad(label_sets.members, (0, filling), constant_values=len(label_sets.sets))
        step, arrays = fit(_fit_exact, disjoint=label_sets.disjoint, settings=settings), (members, label_sets.sets)
    else:
        multi_hot = np.pad(label_sets.sets[label_sets.members], ((0, filling), (0, 0)))
        step, arrays = fit(_fit_blockwise, settings=settings), (multi_hot,)
    state, arrays = parallel.replicate((checkpoint.restore(state), arrays), devices)
    done, losses = int(parallel.fetch(state.epoch, devices)), np.asarray(parallel.fetch(state.losses, devices))
    while done < settings.num_epochs:
        done = min(done + _EPOCHS_A_CALL, settings.num_epochs)
        state = step(state, np.int32(done), *arrays)
        losses = np.asarray(parallel.fetch(state.losses, devices))
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            raise FloatingPointError(f"the loss is {losses[bad[0]]} in epoch {bad[0]}, batch of all {num_rows} rows")
        on_call(done, float(losses[done - 1]))
        checkpoint.offer(done, state)
    codes = np.asarray(parallel.fetch(state.v, devices)[:num_rows] >= 0).astype(np.uint8)
    return TargetCodes(codes, losses, path)
