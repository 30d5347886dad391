"""OrthoHash: one cosine, between logits and the code of the class, in place of several losses.

Hoe, Ng, Zhang, Chan, Song and Xiang, "One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning
Objective", NeurIPS 2021. With logits u float32 ``[B, K]``, normalised bit by bit over the batch, and a fixed code o_c
in {-1, 1}^K for each class:

    min  CE(s (cos(v, o_c) - m y_c), y),   v = (u - mean u) / sqrt(var u + 1e-5)

Mean and variance are those of all devices' rows of the batch, padding left out. Codes are signs of v with running
statistics, which go into the encoder's last layer when training ends, so that a code depends on its row alone. They are
plain means over the first ten steps, and then change by a tenth with every step, as in public implementations.

What differs from the paper's code: bits are not scaled and shifted after they are normalised, since a shift would undo
their balance; the encoder keeps the bias of its last layer, which the mean removes. Codes of classes are all different
and no bit is the same for all classes, as in CSQ. Sources of the numbers: s = sqrt(K) and m = 0.2 are the paper's (0.3
for CIFAR-10, 0.5 for MS-COCO). A row of several labels wants each with equal probability, and the margin is taken off
each of its cosines, as in the paper's code; binary cross-entropy is known to collapse here (mAP .40 on MS-COCO).
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.classes import class_cross_entropy
from drlhash_jax.methods.csq import distinct_codes, hash_centres, vary_constant_bits
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, Start, State, gradient_phase
from drlhash_jax.types import Array

CODEBOOKS = ("maximum_distance", "bernoulli", "hadamard")
# Added to variances.
_EPSILON = 1e-5
# Share of the newest batch in the running statistics, at least.
_RATE = 0.1
# Random codes that a codebook of maximum distance is chosen from, and products of these with its codes.
_MAX_POOL, _MAX_PRODUCTS = 4_096, 10_000_000


@dataclasses.dataclass(frozen=True)
class OrthoHashSettings(Settings):
    """Settings of OrthoHash."""

    codebook: str = setting(
        "maximum_distance",
        "codes of classes: far apart, coins (bernoulli), or rows of a Hadamard matrix if there is one (hadamard)",
        choices=CODEBOOKS,
    )
    margin: float = setting(
        0.2, "taken off the cosine of a row with the code of its class", least=0.0, most=2.0, search=(0.0, 0.4)
    )
    scale: float | None = setting(
        None, "factor of the cosines; 0 for the square root of the bits", least=1e-3, most=1e6, zero_is_none=True
    )


@struct.dataclass
class Statistics:
    """What OrthoHash keeps beside the encoder.

    Attributes:
      codebook: float32 ``[C, K]`` of {-1, 1}.
      mean: float32 ``[K]`` of each logit, over the last batches.
      variance: float32 ``[K]``.
      num_steps: int32 scalar, batches seen.
    """

    codebook: Array
    mean: Array
    variance: Array
    num_steps: Array


def _far_codes(key: Array, num_codes: int, num_bits: int) -> np.ndarray:
    """Codes chosen from random ones, each as far as possible from the nearest one before: int8 ``[num_codes, K]``."""
    pool_size = max(num_codes, min(_MAX_POOL, 2**num_bits, _MAX_PRODUCTS // num_codes))
    pool = distinct_codes(key, pool_size, num_bits, balanced=False)
    if pool_size == num_codes:
        return pool
    chosen, nearest = [0], pool.astype(np.float32) @ pool[0]
    while len(chosen) < num_codes:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, pool.astype(np.float32) @ pool[chosen[-1]])
    return pool[chosen]


def make_codebook(key: Array, num_classes: int, num_bits: int, kind: str) -> np.ndarray:
    """A code for each class, all different, no bit the same in all: int8 ``[C, K]`` of {-1, 1}; C at most 2^K."""
    if kind == "hadamard":
        return hash_centres(key, num_classes, num_bits)
    draw = _far_codes if kind == "maximum_distance" else functools.partial(distinct_codes, balanced=False)
    return vary_constant_bits(jax.random.fold_in(key, 2), draw(key, num_classes, num_bits))


def batch_statistics(u: Array, weights: Array, axis_name: str | None) -> tuple[Array, Array]:
    """Mean and variance of each logit over the rows of all devices: float32 ``[K]`` each; gradients flow through them.

    Args:
      u: float32 ``[B, K]`` of this device's rows.
      weights: float32 ``[B]``, 0 marking padding.
      axis_name: axis of the devices that share the batch; None for one.
    """
    everyone, weights = parallel.gather_rows((u, weights), axis_name)
    share = (weights / jnp.maximum(jnp.sum(weights), 1.0))[:, None]
    mean = jnp.sum(share * everyone, axis=0)
    return mean, jnp.sum(share * (everyone - mean[None, :]) ** 2, axis=0)


def _codebook_phase(num_bits: int, settings: OrthoHashSettings) -> Phase:
    def init(key: Array, begin: Start) -> State:
        return State(jnp.zeros((), jnp.int32), make_codebook(key, begin.num_classes, num_bits, settings.codebook))

    finish = lambda state: {"codebook": state.params}
    return Phase("codebook", 0, 0, init, finish=finish, needs_inputs=False)


def _keep_statistics(kept: Statistics, u: Array, batch: Batch, axis_name: str | None) -> Statistics:
    mean, variance = batch_statistics(u, batch.weights, axis_name)
    rate = jnp.maximum(_RATE, 1.0 / (kept.num_steps + 1).astype(jnp.float32))
    blend = lambda old, new: old + rate * (new - old)
    return kept.replace(
        mean=blend(kept.mean, mean), variance=blend(kept.variance, variance), num_steps=kept.num_steps + 1
    )


def _hand_on(state: State) -> dict[str, Any]:
    """The encoder's parameters, its last layer subtracting the running mean and dividing by the deviation."""
    head, factor = state.params["head"], jax.lax.rsqrt(state.extra.variance + _EPSILON)
    folded = {"kernel": head["kernel"] * factor[None, :], "bias": (head["bias"] - state.extra.mean) * factor}
    return {"params": state.params | {"head": folded}}


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """OrthoHash for codes of one length. The codebook is a phase of its own, so that folds share what bits mean."""
    num_bits, settings = given.num_bits, given.settings
    scale = settings.scale or math.sqrt(num_bits)

    def init_extra(key: Array, begin: Start) -> Statistics:
        codebook = jnp.asarray(begin.before["codebook"], jnp.float32)
        return Statistics(codebook, jnp.zeros(num_bits), jnp.zeros(num_bits), jnp.zeros((), jnp.int32))

    def loss(u: Array, batch: Batch, kept: Statistics, axis_name: str | None) -> Array:
        mean, variance = batch_statistics(u, batch.weights, axis_name)
        v = (u - mean[None, :]) * jax.lax.rsqrt(variance + _EPSILON)[None, :]
        # A row whose logits are all at the mean has no direction, and no gradient.
        lengths = jnp.sqrt(jnp.maximum(jnp.sum(v**2, axis=1, keepdims=True), 1e-12))
        cosines = (v / lengths) @ kept.codebook.T / math.sqrt(num_bits)
        scores = scale * (cosines - settings.margin * batch.labels)
        return class_cross_entropy(scores, batch.labels, batch.weights, axis_name)

    phase = gradient_phase(
        given.encoder, given.training, loss, init_extra=init_extra, update_extra=_keep_statistics, finish=_hand_on
    )
    return Method((_codebook_phase(num_bits, settings), phase), encoder_logits(given.encoder), shared_bits=True)
