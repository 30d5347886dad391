"""Central similarity quantisation: every class has a hash centre, and an encoder learns the centres of its rows."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import (
    Batch,
    Phase,
    Start,
    State,
    binary_cross_entropy,
    gradient_phase,
    multi_hot,
    weighted_mean,
)
from drlhash_jax.types import Array

# Draws of random centres before the best of them is taken.
_MAX_DRAWS = 100


@dataclasses.dataclass(frozen=True)
class CSQSettings(Settings):
    """Settings of CSQ."""

    quantisation_weight: float = setting(1e-4, "weight of (|tanh u| - 1)^2", least=0.0, most=1e6)


def hash_centres(key: Array, num_classes: int, num_bits: int) -> np.ndarray:
    """A centre for each class (CSQ, Algorithm 1): int8 ``[C, K]`` of {-1, 1}.

    Where K is a power of two and C is at most 2K, rows of a Hadamard matrix H and of -H: at least K / 2 bits apart. In
    the paper's order, the first rows of H, bit 0 is the same for all classes; here rows are drawn in random order, and
    up to C = K with random signs, which keeps the distances. Otherwise each centre has K / 2 random ones, drawn again
    until all are more than K / 4 bits apart; the best of 100 draws if none is.
    """
    order_key, sign_key, draw_key = jax.random.split(key, 3)
    if num_bits & (num_bits - 1) == 0 and num_classes <= 2 * num_bits:
        hadamard = scipy.linalg.hadamard(num_bits, dtype=np.int8)
        if num_classes > num_bits:
            order = np.asarray(jax.random.permutation(order_key, 2 * num_bits))[:num_classes]
            return np.concatenate([hadamard, -hadamard])[order]
        order = np.asarray(jax.random.permutation(order_key, num_bits))[:num_classes]
        signs = np.asarray(jax.random.rademacher(sign_key, (num_classes, 1), jnp.int8))
        return hadamard[order] * signs
    best, best_distance = None, -1
    for draw in range(_MAX_DRAWS):
        places = jax.random.uniform(jax.random.fold_in(draw_key, draw), (num_classes, num_bits)).argsort(axis=1)
        centres = np.where(np.asarray(places) < num_bits // 2, 1, -1).astype(np.int8)
        distances = (num_bits - centres.astype(np.int32) @ centres.T) // 2
        np.fill_diagonal(distances, num_bits)
        if distances.min() > best_distance:
            best, best_distance = centres, distances.min()
        if best_distance > num_bits / 4:
            break
    return best


def row_centres(key: Array, centres: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The centre of each row's label set: codes uint8 ``[n, K]``.

    Args:
      key: PRNG key, consumed.
      centres: int8 ``[C, K]`` of {-1, 1}.
      labels: int32 ``[n]``, negative for none, or multi-hot ``[n, C]``.

    Returns:
      The sign of the sum of the centres of a row's labels; ties, and rows without a label, take the bits of one random
      code.
    """
    sums = np.asarray(multi_hot(labels, len(centres)), np.int32) @ centres.astype(np.int32)
    tie = np.asarray(jax.random.bernoulli(key, shape=centres.shape[1:]))
    return np.where(sums == 0, tie, sums > 0).astype(np.uint8)


def _centres_phase(num_bits: int) -> Phase:
    def init(key: Array, begin: Start) -> State:
        centre_key, tie_key = jax.random.split(key)
        centres = hash_centres(centre_key, begin.num_classes, num_bits)
        return State(jnp.zeros((), jnp.int32), row_centres(tie_key, centres, begin.labels))

    finish = lambda state: {"codes": state.params}
    return Phase("centres", 0, 0, init, finish=finish, needs_inputs=False)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """CSQ (Yuan et al., CVPR 2020), Eq. 4-8, for codes of one length."""

    def loss(logits: Array, batch: Batch, extra: dict[str, Any], axis_name: str | None) -> Array:
        # (1 + tanh u) / 2 is the sigmoid of 2u. A row without a label has no centre.
        weights = batch.weights * (jnp.sum(batch.labels, axis=1) > 0)
        centres = extra["codes"][batch.rows]
        central = binary_cross_entropy(2.0 * logits, centres, weights, axis_name)
        squares = (jnp.abs(jnp.tanh(logits)) - 1.0) ** 2
        quantisation = weighted_mean(jnp.mean(squares, axis=1), weights, axis_name)
        return central + given.settings.quantisation_weight * quantisation

    keep_centres = lambda key, begin: {"codes": begin.before["codes"]}
    phases = (
        _centres_phase(given.num_bits),
        gradient_phase(given.encoder, given.training, loss, init_extra=keep_centres),
    )
    return Method(phases, encoder_logits(given.encoder), shared_bits=True)
