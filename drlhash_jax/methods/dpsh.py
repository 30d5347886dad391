"""DPSH: the likelihood of pairs of a batch's rows with all training rows, whose outputs are kept in a buffer.

Wu-Jun Li, Sheng Wang and Wang-Cheng Kang, "Feature Learning based Deep Supervised Hashing with Pairwise Labels", IJCAI
2016.

With outputs u_i of the batch's rows, v_j of all n training rows as they were when row j was last in a batch, theta_ij =
u_i . v_j / 2, and s_ij = 1 where rows i and j share a label and 0 elsewhere:

    L = mean_ij [log(1 + e^theta_ij) - s_ij theta_ij] + eta mean_ik (u_ik - sign(u_ik))^2.

The v_j are constants of a step, but those of the batch's rows are its own outputs; they are zero before a row is first
seen, and theta is then zero as well. The code is the sign of u.

What differs from the paper: means stand in place of sums, so that learning rates and eta mean the same for any n and K;
the paper's eta is this one times n / K. Pairs of a row with itself are left out. Where the paper counts a pair once for
either row, here and in its public implementations it counts for the row in the batch.

Hyper-parameters: eta .1 is that of public implementations, which take means as here; it is 10 in the paper's terms for
5,000 rows and 48 bits.

It needs more epochs than HashNet, where similar and dissimilar pairs weigh the same; with ten classes nine pairs in ten
are dissimilar here. On `cifar10_features` with 32 bits, by Adam at 1e-3, 20 epochs gave mAP .543 and 60 epochs .632. Of
other ways to learn faster, tried on held-out training rows, eta .01 and 1, Adam at 1e-4, 3e-4 and 3e-3, and weight
decay 1 gained three points at most, and momentum at .03 lost many; weight decay 3 gained seven (.561 against .490).
Public implementations train for 150 epochs.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.pairs import mean_over_pairs, negative_log_likelihood, share_label, write_rows
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Start, gradient_phase, multi_hot, weighted_mean
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class DPSHSettings(Settings):
    """Settings of DPSH."""

    eta: float = setting(0.1, "weight of (|u| - 1)^2", least=0.0, most=1e6, search=(0.01, 1.0))


@struct.dataclass
class Remembered:
    """What DPSH keeps beside the encoder; n rows are all training rows.

    Attributes:
      outputs: float32 ``[n, K]``, V: of each row when it was last in a batch, zeros before.
      labels: float32 ``[n, C]`` multi-hot.
      inside: float32 ``[n]``, 1 for rows that are trained on.
    """

    outputs: Array
    labels: Array
    inside: Array


def _begin(begin: Start, num_bits: int) -> Remembered:
    num_rows = len(begin.labels)
    inside = jnp.zeros(num_rows, jnp.float32).at[begin.subset].set(1.0)
    labels = multi_hot(jnp.asarray(begin.labels), begin.num_classes)
    return Remembered(jnp.zeros((num_rows, num_bits), jnp.float32), labels, inside)


def remember(kept: Remembered, logits: Array, batch: Batch, axis_name: str | None) -> Remembered:
    """Writes the outputs float32 ``[B, K]`` of a batch's rows into the buffer, on all devices."""
    return kept.replace(outputs=write_rows(kept.outputs, logits, batch, axis_name))


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """DPSH (Li et al., IJCAI 2016) for codes of one length."""

    def loss(logits: Array, batch: Batch, kept: Remembered, axis_name: str | None) -> Array:
        seen = remember(kept, jax.lax.stop_gradient(logits), batch, axis_name)
        values = negative_log_likelihood(0.5 * logits @ seen.outputs.T, share_label(batch.labels, kept.labels))
        others = batch.rows[:, None] != jnp.arange(kept.inside.shape[0])[None, :]
        weights = others * batch.weights[:, None] * kept.inside[None, :]
        distances = jnp.mean((jnp.abs(logits) - 1.0) ** 2, axis=1)
        quantisation = weighted_mean(distances, batch.weights, axis_name)
        return mean_over_pairs(values, weights, axis_name) + given.settings.eta * quantisation

    def init_extra(key: Array, begin: Start) -> Any:
        return _begin(begin, given.num_bits)

    phase = gradient_phase(given.encoder, given.training, loss, init_extra=init_extra, update_extra=remember)
    return Method((phase,), encoder_logits(given.encoder))
