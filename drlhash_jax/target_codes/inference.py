"""Stage 1: target codes from labels by Adam on latent V, Z = tanh(V).

Two losses. "similarity" is the thesis's (Alg. 1, Eq. 3.2-3.10): each row has its own latent code, and a step sees all
pairs. "likelihood" is ours, for rows with several labels: rows of one label set have one latent code, and a step sees
h x w random pairs, with replacement, so its cost does not depend on the number of rows.

Measured with labels alone: mAP of the training rows' target codes against themselves, default settings, K = 32, means
of 3 seeds (standard deviation at most .012), seconds on two busy cores. "Centres" are those of CSQ with majority vote.

| rows | sets | likelihood: mAP, @5000, s | similarity | centres |
|---|---|---|---|---|
| MS-COCO, 10,000 | 3,845 | .925, .924, 8 | .750, .741, 117 | .744, .669, 0 |
| NUS-WIDE-21, 10,500 | 1,680 | .984, .981, 4 | .831, .806, 7 | .910, .880, 0 |

At 16 and 64 bits: MS-COCO .838 and .974 (similarity .732 and .762, one seed; centres .632 and .855), NUS-WIDE-21 .925
and .997 (.814 and .838; .821 and .938).

Of 3,000 rows with one label each, both have mAP 1 at ten classes; the similarity loss puts these further apart, 17.8
bits in the mean and 14 at least against 17.0 and 13. At 100 classes it leaves rows of one class apart (2,700 codes, mAP
.987), and the likelihood does not (100 codes, mAP 1). "auto" keeps the thesis's loss there too.
"""

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
from drlhash_jax.target_codes.pair_likelihood import pair_likelihood_loss
from drlhash_jax.target_codes.similarity_loss import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    quantisation_loss,
)
from drlhash_jax.types import Array

LOSSES = ("auto", "similarity", "likelihood")
PATHS = ("auto", "exact", "blockwise")


@dataclasses.dataclass(frozen=True)
class TargetCodeSettings(Settings):
    """Settings of stage 1."""

    loss: str = setting(
        "auto", "similarity (the thesis), likelihood, or auto: likelihood where label sets overlap", choices=LOSSES
    )
    num_epochs: int = setting(600, "gradient steps", least=1, most=1_000_000)
    learning_rate: float = setting(
        0.1, "of Adam; 1.0 (thesis 4.1) saturates tanh at 64 bits, 0.1 does not", least=0.0, most=1e3
    )
    quantisation_weight: float = setting(
        0.1, "final weight of || |Z| - 1 ||^2, ramped linearly from 0", least=0.0, most=1e6
    )
    init_scale: float = setting(0.1, "standard deviation of the initial V", least=1e-6, most=1e3)
    path: str = setting("auto", "of loss similarity: exact, blockwise, or auto for whichever is cheaper", choices=PATHS)
    block_height: int = setting(
        500, "h, rows of a block of S; loss likelihood takes one random block a step", least=1, most=65_536
    )
    block_width: int = setting(500, "w, columns of a block of S", least=1, most=65_536)


def choose_loss(loss: str, label_sets: LabelSets) -> str:
    """Resolves "auto": similarity where no two sets share a label, as with one label a row; otherwise likelihood."""
    if loss != "auto":
        return loss
    return "similarity" if label_sets.disjoint else "likelihood"


def choose_path(path: str, label_sets: LabelSets) -> str:
    """Resolves "auto": exact when sets are disjoint, or when their pairs are at most a third of the rows' pairs."""
    if path != "auto":
        return path
    num_rows, num_sets = len(label_sets.members), len(label_sets.sets)
    return "exact" if label_sets.disjoint or 3 * num_sets**2 <= num_rows**2 else "blockwise"


@struct.dataclass
class LabelData:
    """What a loss compares codes with.

    Attributes:
      members: int32 ``[n]``, number of each row's label set, G for filling rows; None on path "blockwise".
      sets: float32 ``[G, C]``, the distinct label sets; on path "blockwise" uint8 or float32 ``[n, C]``, those of all
        rows, zeros for filling rows.
      path: "exact" or "blockwise" for the similarity loss, or "likelihood"; static.
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
      Latent codes V float32 ``[n, K]`` of all rows, filling rows at the end, or ``[G, K]`` of the label sets for the
      likelihood, which has no filling; the state of Adam; and LabelData.

    Raises:
      ValueError: unknown loss or path.
    """
    if settings.loss not in LOSSES:
        raise ValueError(f"loss={settings.loss!r}: choose one of {', '.join(LOSSES)}")
    if settings.path not in PATHS:
        raise ValueError(f"path={settings.path!r}: choose one of {', '.join(PATHS)}")
    label_sets = find_label_sets(labels)
    num_rows = len(labels)
    if choose_loss(settings.loss, label_sets) == "likelihood":
        members, sets, disjoint = label_sets
        v = settings.init_scale * jax.random.normal(key, (len(sets), num_bits), jnp.float32)
        data = LabelData(members, sets, "likelihood", disjoint, num_rows)
        return v, optax.adam(settings.learning_rate).init(v), data
    path = choose_path(settings.path, label_sets)
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


def _similarity_step(
    v: Array, opt_state: Any, weight: Array, data: LabelData, settings: TargetCodeSettings, axis_name: str | None
) -> tuple[Array, Any, Array]:
    def objective(v: Array) -> Array:
        z = jnp.tanh(v)
        penalty = quantisation_loss(z, num_rows=data.num_rows, axis_name=axis_name)
        return _similarity_loss(z, data, settings, axis_name) + weight * penalty

    # Adam's moments have a row for each of V's, its counter has none.
    share = lambda tree: jax.tree.map(lambda x: parallel.local_rows(x, axis_name) if x.ndim else x, tree)
    whole = lambda tree: jax.tree.map(lambda x: parallel.gather_rows(x, axis_name) if x.ndim else x, tree)
    local_v, local_state = share((v, opt_state))
    loss, gradient = jax.value_and_grad(objective)(local_v)
    updates, local_state = optax.adam(settings.learning_rate).update(gradient, local_state)
    return *whole((optax.apply_updates(local_v, updates), local_state)), loss


def likelihood_and_gradient(
    key: Array, v: Array, weight: Array, data: LabelData, settings: TargetCodeSettings, axis_name: str | None = None
) -> tuple[Array, Array]:
    """The likelihood of a random block of pairs, its rows divided among the devices, and the gradient.

    Args:
      key: PRNG key, consumed; the block does not depend on the number of devices.
      v: float32 ``[G, K]``, latent codes of the label sets.
      weight: float32 scalar, of the quantisation term.
      data: LabelData.
      settings: TargetCodeSettings.
      axis_name: axis of the devices; None for one.

    Returns:
      The mean of L_i over the rows of the block with the quantisation term of their codes, and its gradient in v.
    """
    height, width = settings.block_height, settings.block_width
    row_key, column_key = jax.random.split(key)
    draw = lambda key, number: data.members[jax.random.randint(key, (number,), 0, data.num_rows)]
    rows, columns = draw(row_key, height), draw(column_key, width)
    filled = parallel.pad_rows((rows, jnp.ones(height)), parallel.num_shards(axis_name))
    rows, valid = parallel.local_rows(filled, axis_name)
    similar = jnp.minimum(data.sets[rows] @ data.sets[columns].T, 1.0)

    def share_of_loss(v: Array) -> Array:
        z_rows = jnp.tanh(v[rows])
        likelihood = pair_likelihood_loss(z_rows, jnp.tanh(v[columns]), similar)
        penalty = jnp.mean(jnp.square(jnp.abs(z_rows) - 1.0), axis=1)
        return jnp.sum(valid * (likelihood + weight * penalty)) / height

    return parallel.total(jax.value_and_grad(share_of_loss)(parallel.vary(v, axis_name)), axis_name)


def gradient_step(
    key: Array,
    v: Array,
    opt_state: Any,
    epoch: Array,
    data: LabelData,
    settings: TargetCodeSettings,
    axis_name: str | None = None,
) -> tuple[Array, Any, Array]:
    """A step of Adam on the latent codes; each device computes its share of the rows.

    Args:
      key: PRNG key of the step; the similarity loss draws nothing.
      v: float32 ``[n, K]`` or ``[G, K]``, latent codes, see `start`.
      opt_state: of Adam.
      epoch: int32 scalar, steps done; the weight of the quantisation term grows with it.
      data: LabelData.
      settings: TargetCodeSettings.
      axis_name: axis of the devices; None for one.

    Returns:
      The next v and state, and the loss before the step, float32 scalar.
    """
    weight = jnp.linspace(0.0, settings.quantisation_weight, settings.num_epochs)[epoch]
    if data.path != "likelihood":
        return _similarity_step(v, opt_state, weight, data, settings, axis_name)
    loss, gradient = likelihood_and_gradient(key, v, weight, data, settings, axis_name)
    updates, opt_state = optax.adam(settings.learning_rate).update(gradient, opt_state)
    return optax.apply_updates(v, updates), opt_state, loss


def codes_of(v: Array, data: LabelData) -> np.ndarray:
    """Target codes uint8 ``[num_rows, K]`` of latent ones: bit 1 iff z = tanh(v) >= 0."""
    codes = (np.asarray(v) >= 0).astype(np.uint8)
    return codes[np.asarray(data.members)] if data.path == "likelihood" else codes[: data.num_rows]
