"""Stage 1: target codes from labels by full-batch Adam on latent V, Z = tanh(V) (thesis Alg. 1, Eq. 3.2-3.10)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from drlhash_jax import parallel
from drlhash_jax.settings import Settings, setting
from drlhash_jax.target_codes.labels import LabelSets, find_label_sets
from drlhash_jax.target_codes.similarity_loss import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    quantisation_loss,
)
from drlhash_jax.types import Array

PATHS = ("auto", "exact", "blockwise")


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


def choose_path(path: str, label_sets: LabelSets) -> str:
    """Resolves "auto": exact when sets are disjoint, or when their pairs are at most a third of the rows' pairs."""
    if path != "auto":
        return path
    num_rows, num_sets = len(label_sets.members), len(label_sets.sets)
    return "exact" if label_sets.disjoint or 3 * num_sets**2 <= num_rows**2 else "blockwise"


@struct.dataclass
class LabelData:
    """What the similarity loss compares codes with.

    Attributes:
      members: int32 ``[n]``, number of each row's label set, G for filling rows; None on path "blockwise".
      sets: float32 ``[G, C]``, the distinct label sets; on path "blockwise" uint8 or float32 ``[n, C]``, those of all
        rows, zeros for filling rows.
      path: "exact" or "blockwise"; static.
      disjoint: whether no two sets share a label; static.
      num_rows: rows that are not filling; static.
    """

    members: Array | None
    sets: Array
    path: str = struct.field(pytree_node=False)
    disjoint: bool = struct.field(pytree_node=False)
    num_rows: int = struct.field(pytree_node=False)


def start(
    key: Array, labels: np.ndarray, num_bits: int, settings: TargetCodeSettings, num_shards: int = 1
) -> tuple[Array, Any, LabelData]:
    """What stage 1 begins with.

    Args:
      key: PRNG key, consumed.
      labels: integer ``[n]`` (negative: no label) or multi-hot ``[n, C]``.
      num_bits: K.
      settings: TargetCodeSettings.
      num_shards: devices that share the rows; filling rows make their number a multiple of it.

    Returns:
      Latent codes V float32 ``[n, K]``, the state of Adam, and LabelData, filling rows at the end.

    Raises:
      ValueError: unknown path.
    """
    if settings.path not in PATHS:
        raise ValueError(f"path={settings.path!r}: choose one of {', '.join(PATHS)}")
    label_sets = find_label_sets(labels)
    path = choose_path(settings.path, label_sets)
    num_rows = len(labels)
    filling = -num_rows % num_shards
    if path == "exact":
        members = np.pad(label_sets.members, (0, filling), constant_values=len(label_sets.sets))
        sets = label_sets.sets
    else:
        members, sets = None, np.pad(label_sets.sets[label_sets.members], ((0, filling), (0, 0)))
    v = settings.init_scale * jax.random.normal(key, (num_rows, num_bits), jnp.float32)
    v = jnp.pad(v, ((0, filling), (0, 0)))
    data = LabelData(members, sets, path, label_sets.disjoint, num_rows)
    return v, optax.adam(settings.learning_rate).init(v), data


def _similarity_loss(z: Array, data: LabelData, settings: TargetCodeSettings, axis_name: str | None) -> Array:
    shared = {"num_rows": data.num_rows, "axis_name": axis_name}
    if data.path == "exact":
        members = parallel.local_rows(data.members, axis_name)
        return exact_similarity_loss(z, members, data.sets, disjoint=data.disjoint, **shared)
    labels = parallel.local_rows(data.sets, axis_name)
    return blockwise_similarity_loss(z, labels, height=settings.block_height, width=settings.block_width, **shared)


def gradient_step(
    v: Array, opt_state: Any, epoch: Array, data: LabelData, settings: TargetCodeSettings, axis_name: str | None = None
) -> tuple[Array, Any, Array]:
    """A step of Adam on all latent codes; each device computes its share of the rows.

    Args:
      v: float32 ``[n, K]``, latent codes.
      opt_state: of Adam.
      epoch: int32 scalar, steps done; the weight of the quantisation term grows with it.
      data: LabelData.
      settings: TargetCodeSettings.
      axis_name: axis of the devices; None for one.

    Returns:
      The next v and state, and the loss before the step, float32 scalar.
    """
    ramp = jnp.linspace(0.0, settings.quantisation_weight, settings.num_epochs)

    def objective(v: Array) -> Array:
        z = jnp.tanh(v)
        penalty = quantisation_loss(z, num_rows=data.num_rows, axis_name=axis_name)
        return _similarity_loss(z, data, settings, axis_name) + ramp[epoch] * penalty

    # Adam's moments have a row for each of V's, its counter has none.
    share = lambda tree: jax.tree.map(lambda x: parallel.local_rows(x, axis_name) if x.ndim else x, tree)
    whole = lambda tree: jax.tree.map(lambda x: parallel.gather_rows(x, axis_name) if x.ndim else x, tree)
    local_v, local_state = share((v, opt_state))
    loss, gradient = jax.value_and_grad(objective)(local_v)
    updates, local_state = optax.adam(settings.learning_rate).update(gradient, local_state)
    return *whole((optax.apply_updates(local_v, updates), local_state)), loss


def codes_of(v: Array, num_rows: int) -> np.ndarray:
    """Target codes uint8 ``[num_rows, K]`` of latent ones: bit 1 iff z = tanh(v) >= 0."""
    return (np.asarray(v)[:num_rows] >= 0).astype(np.uint8)
