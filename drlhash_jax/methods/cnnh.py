"""Convolutional neural network hashing: codes that keep the similarity of labels, then an encoder that regresses them.

Xia, Pan, Lai, Liu and Yan, "Supervised Hashing for Image Retrieval via Image Representation Learning", AAAI 2014.

The first phase minimises, over H in [-1, 1]^(n x K),

    ||H H^T - K S||^2,    S = 1 for rows that share a label, -1 for others,

and takes signs. The second lets an encoder u learn these bits b in {-1, 1}:  mean (tanh u - b)^2.

There are two ways to the codes. "coordinate" is the paper's: Newton steps of one entry of H at a time, in random order
(a sweep takes every entry once). "gradient" takes H = tanh(V) and steps of Adam on all of V, as the first stage of the
thesis without its quantisation term: the same objective. It is the default, since it runs in parallel. What differs
from the paper:

- A Newton step that would raise the objective is left out. The objective is a polynomial of degree 4 in one entry, so
  that the change is known before the step. The paper takes back a whole sweep.
- The residual H H^T - K S is never held. Rows of equal labels share their row of S, so that H^T H and the sums of H
  over label sets are enough. A step costs O(K + G) for G distinct label sets instead of O(n), and is the same but for
  rounding.
- The network is the configured encoder, and regresses bits only. The paper's CNNH+, which learns the classes as well,
  is left out.

Hyper-parameters: the number of sweeps is ours (public descriptions say 5 to 10), number and size of the gradient steps
are those of `target_codes`.

Measured on CIFAR-10 features (`configs/cifar10_features.py`, 32 bits, seed 0, 20 epochs), mAP: momentum at rate 1.0, as
for the cross-entropy of the thesis, .571, and .563 with codes by coordinates; at rate .2, .624. Squared errors of
tanh have no slope where a large step saturated the wrong bit, so rates must be smaller than for the cross-entropy.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts, encoder_logits, keep_codes
from drlhash_jax.methods.drlhash import target_codes_phase
from drlhash_jax.settings import Settings, setting
from drlhash_jax.target_codes import TargetCodeSettings, exact_similarity_loss, find_label_sets
from drlhash_jax.training import Batch, Phase, Start, State, gradient_phase, weighted_mean
from drlhash_jax.types import Array

# Distinct label sets whose G x G similarity "coordinate" holds: 400 MB.
_MOST_SETS = 10_000


@dataclasses.dataclass(frozen=True)
class CNNHSettings(Settings):
    """Settings of CNNH."""

    inference: str = setting(
        "gradient", "of the codes: gradient, or the paper's coordinate", choices=("gradient", "coordinate")
    )
    num_epochs: int = setting(600, "gradient steps of inference=gradient", least=1, most=1_000_000)
    learning_rate: float = setting(0.1, "of Adam, for inference=gradient", least=0.0, most=1e3)
    num_sweeps: int = setting(5, "sweeps over all entries of inference=coordinate", least=1, most=10_000)


def misfit(settings: CNNHSettings, facts: TrainingFacts) -> str | None:
    """Refuses coordinate descent where there may be too many label sets; n rows have at most min(n, 2^C) of them."""
    most_sets = min(facts.num_rows, 2 ** min(facts.num_classes, 60))
    if settings.inference == "gradient" or most_sets <= _MOST_SETS:
        return None
    return (
        f"cnnh.inference=coordinate holds the similarity of up to {most_sets} label sets with each other, and "
        f"{_MOST_SETS} is the most; use cnnh.inference=gradient, or at most {_MOST_SETS} training rows"
    )


@struct.dataclass
class Similarity:
    """Which rows are alike.

    Attributes:
      members: int32 ``[n]``, number of each row's label set.
      sets: float32 ``[G, C]`` multi-hot, the distinct label sets.
      between: float32 ``[G, G]`` of {-1, 1}, S between label sets.
      subset: int32 ``[n]``, the rows' numbers among all training rows.
      num_rows: int32 scalar, all training rows.
      disjoint: whether no two sets share a label; static.
    """

    members: Array
    sets: Array
    between: Array
    subset: Array
    num_rows: Array
    disjoint: bool = struct.field(pytree_node=False)


def _similarity(labels: np.ndarray, subset: np.ndarray) -> Similarity:
    found = find_label_sets(labels[subset])
    between = np.where(found.sets @ found.sets.T > 0, 1.0, -1.0).astype(np.float32)
    return Similarity(found.members, found.sets, between, subset, np.int32(len(labels)), found.disjoint)


def newton_step(h: Array, slope: Array, curvature: Array) -> Array:
    """The change d of one entry h of H, which stays in [-1, 1] and never raises the objective.

    With residual L = H H^T - K S, the entry (i, j) changes the objective by

        g d + c d^2 / 2 + 4 h d^3 + d^4,    g = 4 L_i . H_j,    c = 4 (||H_j||^2 + h^2 + L_ii).

    The step is -g / c, cut to the box; towards the side that g says where the objective is not convex; 0 where the
    terms of third and fourth degree would make it a step up.

    Args:
      h: float32 scalar.
      slope: float32 scalar, g.
      curvature: float32 scalar, c.

    Returns:
      float32 scalar.
    """
    d = jnp.clip(-slope / jnp.maximum(curvature, 1e-6), -1.0 - h, 1.0 - h)
    change = d * (slope + d * (0.5 * curvature + d * (4.0 * h + d)))
    return jnp.where(change < 0, d, 0.0)


def sweep(key: Array, h: Array, alike: Similarity) -> Array:
    """A Newton step for every entry of H, in random order.

    Args:
      key: PRNG key, consumed.
      h: float32 ``[n, K]`` in [-1, 1].
      alike: Similarity of the n rows.

    Returns:
      float32 ``[n, K]``, of no larger ||H H^T - K S||^2.
    """
    num_rows, num_bits = h.shape
    order = jax.random.permutation(key, num_rows * num_bits)
    # Made anew in every sweep, so that rounding does not add up.
    gram = h.T @ h
    sums = jax.ops.segment_sum(h, alike.members, alike.sets.shape[0]).T

    def step(place: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        h, gram, sums = carry
        i, j = jnp.divmod(order[place], num_bits)
        row, group = h[i], alike.members[i]
        # L_i . H_j = H_i . (H^T H)_j - K S_i . H_j, and S_i . H_j adds up over label sets.
        slope = 4.0 * (row @ gram[j] - num_bits * (alike.between[group] @ sums[j]))
        own = row @ row - num_bits * alike.between[group, group]
        d = newton_step(row[j], slope, 4.0 * (gram[j, j] + row[j] ** 2 + own))
        # Row and column j of H^T H: both gain d H_i, and the entry that they share d^2 more.
        gram = gram.at[j].add(d * row).at[:, j].add(d * row).at[j, j].add(d * d)
        return h.at[i, j].add(d), gram, sums.at[j, group].add(d)

    h, _, _ = jax.lax.fori_loop(0, num_rows * num_bits, step, (h, gram, sums))
    # Adding a step may end a rounding error outside the box.
    return jnp.clip(h, -1.0, 1.0)


def coordinate_phase(num_bits: int, num_sweeps: int) -> Phase:
    """Codes by coordinate descent: hands on "codes" uint8 ``[n, K]``, zeros for rows that are not trained on.

    The metric "loss" is the objective before a sweep, over (n K)^2. All devices do the same.
    """

    def init(key: Array, begin: Start) -> State:
        h = jax.random.uniform(key, (len(begin.subset), num_bits), jnp.float32, -1.0, 1.0)
        return State(jnp.zeros((), jnp.int32), h, None, _similarity(begin.labels, begin.subset))

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        alike = state.extra
        loss = exact_similarity_loss(state.params, alike.members, alike.sets, disjoint=alike.disjoint)
        return state.replace(params=sweep(key, state.params, alike)), {"loss": loss}

    def finish(state: State) -> dict[str, Any]:
        codes = np.zeros((int(state.extra.num_rows), num_bits), np.uint8)
        codes[np.asarray(state.extra.subset)] = np.asarray(state.params) >= 0
        return {"codes": codes}

    return Phase("target_codes", num_sweeps, 0, init, step, finish=finish, needs_inputs=False)


def codes_phase(num_bits: int, settings: CNNHSettings) -> Phase:
    """The first phase, in the way that the settings say."""
    if settings.inference == "coordinate":
        return coordinate_phase(num_bits, settings.num_sweeps)
    steps = TargetCodeSettings(
        num_epochs=settings.num_epochs, learning_rate=settings.learning_rate, quantisation_weight=0.0
    )
    return target_codes_phase(num_bits, steps)


def regression_loss(logits: Array, batch: Batch, extra: dict[str, Array], axis_name: str | None) -> Array:
    """This device's share of the mean of (tanh u - b)^2 over rows and bits; extra["codes"] is uint8 ``[n, K]``."""
    bits = 2.0 * extra["codes"][batch.rows].astype(jnp.float32) - 1.0
    return weighted_mean(jnp.mean((jnp.tanh(logits) - bits) ** 2, axis=1), batch.weights, axis_name)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """CNNH (Xia et al., AAAI 2014) for codes of one length."""
    phases = (
        codes_phase(given.num_bits, given.settings),
        gradient_phase(given.encoder, given.training, regression_loss, init_extra=keep_codes),
    )
    return Method(phases, encoder_logits(given.encoder), shared_bits=True)
