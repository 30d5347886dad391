"""Central similarity quantisation: every class has a hash centre, and an encoder learns the centres of its rows.

Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, "Central Similarity Quantization for Efficient Image and Video Retrieval",
CVPR 2020. With the centre c in {0, 1}^K of a row's label set and logits u:

    min  mean_k BCE((1 + tanh u) / 2, c) + w mean_k (|tanh u| - 1)^2

What differs from the paper: no bit is the same for all classes (rows of a Hadamard matrix in their order share bit 0,
and random centres of few classes share many), centres are all different, and lengths that are no power of two and large
numbers of classes work, see `hash_centres`. The paper's second term is log cosh(|2h - 1| - 1); a square stands in its
place, as in public implementations, whose weights w go from 1e-4 to 5e-2; 1e-4 is taken here.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts, encoder_logits, keep_codes
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import (
    Batch,
    Phase,
    Start,
    State,
    binary_cross_entropy,
    gradient_phase,
    weighted_mean,
)
from drlhash_jax.types import Array

# Draws of random centres before the best of them is taken.
_MAX_DRAWS = 100
# Distances computed to choose among draws, in all; beyond 7,000 classes the first draw is taken, and none is computed.
_MAX_DISTANCES = 50_000_000


@dataclasses.dataclass(frozen=True)
class CSQSettings(Settings):
    """Settings of CSQ."""

    quantisation_weight: float = setting(1e-4, "weight of (|tanh u| - 1)^2", least=0.0, most=1e6, search=(1e-2, 0.1))


def distinct_codes(key: Array, num_codes: int, num_bits: int, *, balanced: bool) -> np.ndarray:
    """Random codes of which no two are equal: int8 ``[num_codes, K]`` of {-1, 1}; at most 2^K of them.

    Args:
      key: PRNG key, consumed.
      num_codes: how many.
      num_bits: K.
      balanced: whether each has K / 2 ones (rounded down); otherwise bits are coins. Where there are not twice as many
        such codes as are wanted, all 2^K codes are drawn from.
    """
    count = math.comb(num_bits, num_bits // 2) if balanced else 2**num_bits
    if count < 2 * num_codes:
        numbers = np.asarray(jax.random.permutation(key, 2**num_bits))[:num_codes]
        return np.where(numbers[:, None] >> np.arange(num_bits)[None, :] & 1, 1, -1).astype(np.int8)
    codes, draw = np.zeros((0, num_bits), np.int8), 0
    while len(codes) < num_codes:
        # Of one shape, since every shape is compiled.
        coins = np.asarray(jax.random.uniform(jax.random.fold_in(key, draw), (num_codes, num_bits)))
        ones = coins.argsort(axis=1).argsort(axis=1) < num_bits // 2 if balanced else coins < 0.5
        codes = np.concatenate([codes, np.where(ones, 1, -1).astype(np.int8)])
        _, first = np.unique(np.packbits(codes > 0, axis=1), axis=0, return_index=True)
        codes, draw = codes[np.sort(first)[:num_codes]], draw + 1
    return codes


def least_distance(codes: np.ndarray) -> int:
    """The smallest Hamming distance of two of the codes ``[C, K]`` of {-1, 1}, C at least 2."""
    # Whole numbers far below 2^24, so that float32 is exact.
    products = codes.astype(np.float32) @ codes.astype(np.float32).T
    np.fill_diagonal(products, -codes.shape[1])
    return int(codes.shape[1] - products.max()) // 2


def vary_constant_bits(key: Array, codes: np.ndarray) -> np.ndarray:
    """The codes int8 ``[C, K]``, but a bit that is the same in all of them is turned over in a random half of them.

    Such a bit adds nothing to any distance, so that distances can only grow.
    """
    order = np.asarray(jax.random.uniform(key, codes.shape)).argsort(axis=0).argsort(axis=0)
    constant = (codes == codes[:1]).all(axis=0)
    return np.where(constant[None, :] & (order < len(codes) // 2), -codes, codes)


def hash_centres(key: Array, num_classes: int, num_bits: int) -> np.ndarray:
    """A centre for each class (CSQ, Algorithm 1): int8 ``[C, K]`` of {-1, 1}, all different; C at most 2^K.

    Where K is a power of two and C is at most 2K, rows of a Hadamard matrix H and of -H: at least K / 2 bits apart. In
    the paper's order, the first rows of H, bit 0 is the same for all classes; here rows are drawn in random order, and
    up to C = K with random signs, which keeps the distances. Otherwise each centre has K / 2 random ones, drawn again
    until all are more than K / 4 bits apart; the best of up to 100 draws if none is, and fewer than 100 for more than
    700 classes, whose distances take long.

    No bit is the same for all classes, see `vary_constant_bits`.
    """
    order_key, sign_key, draw_key, vary_key = jax.random.split(key, 4)
    if num_bits & (num_bits - 1) == 0 and num_classes <= 2 * num_bits:
        hadamard = scipy.linalg.hadamard(num_bits, dtype=np.int8)
        if num_classes > num_bits:
            order = np.asarray(jax.random.permutation(order_key, 2 * num_bits))[:num_classes]
            return np.concatenate([hadamard, -hadamard])[order]
        order = np.asarray(jax.random.permutation(order_key, num_bits))[:num_classes]
        signs = np.asarray(jax.random.rademacher(sign_key, (num_classes, 1), jnp.int8))
        return vary_constant_bits(vary_key, hadamard[order] * signs)
    best, best_distance = distinct_codes(draw_key, num_classes, num_bits, balanced=True), -1
    for draw in range(min(_MAX_DRAWS, _MAX_DISTANCES // num_classes**2)):
        centres = distinct_codes(jax.random.fold_in(draw_key, draw), num_classes, num_bits, balanced=True)
        distance = least_distance(centres)
        if distance > best_distance:
            best, best_distance = centres, distance
        if best_distance > num_bits / 4:
            break
    return vary_constant_bits(vary_key, best)


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
    if labels.ndim == 1:
        sums = np.where(labels[:, None] >= 0, centres[labels], 0)
    else:
        sums = labels.astype(np.int32) @ centres.astype(np.int32)
    tie = np.asarray(jax.random.bernoulli(key, shape=centres.shape[1:]))
    return np.where(sums == 0, tie, sums > 0).astype(np.uint8)


def too_many_classes(settings: Settings, facts: TrainingFacts) -> str | None:
    """Refuses more classes than there are codes."""
    if facts.num_classes <= 2**facts.num_bits:
        return None
    return (
        f"{facts.num_bits} bits give {2**facts.num_bits} codes, and each of the {facts.num_classes} classes needs one "
        f"of its own: use {(facts.num_classes - 1).bit_length()} bits or more"
    )


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

    phases = (
        _centres_phase(given.num_bits),
        gradient_phase(given.encoder, given.training, loss, init_extra=keep_codes),
    )
    return Method(phases, encoder_logits(given.encoder), shared_bits=True)
