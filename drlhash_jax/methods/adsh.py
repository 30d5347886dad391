"""Asymmetric deep supervised hashing: the codes of the database are learnt themselves, the encoder serves queries."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, encoder_logits, signs
from drlhash_jax.methods.pairs import share_label, write_rows
from drlhash_jax.methods.rounds import RoundSettings, ends_round, round_key
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, Start, State, epoch_keys, gradient_phase, multi_hot, weighted_mean
from drlhash_jax.types import Array

# Rows of the similarity matrix in memory at a time.
_ROWS_PER_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class ADSHSettings(Settings):
    """Settings of ADSH."""

    gamma: float = setting(
        200.0, "weight of the distance between a row's code and its logits", least=0.0, most=1e9, search=(20.0, 2000.0)
    )
    num_samples: int = setting(2_000, "rows sampled for the encoder in each round", least=1, most=10_000_000)
    epochs_per_round: int = setting(3, "epochs between two updates of the codes", least=1, most=1_000)


class AsymmetricSettings(RoundSettings, Protocol):
    """What a method with rounds of sampled rows and learnt codes is told; fields as in `ADSHSettings`."""

    gamma: float
    num_samples: int


@struct.dataclass
class Asymmetric:
    """What ADSH keeps beside the encoder; n rows are all training rows.

    Attributes:
      codes: float32 ``[n, K]`` of {-1, 1}, V.
      outputs: float32 ``[n, K]``, tanh of the logits of the rows sampled in this round, zeros for others.
      labels: float32 ``[n, C]`` multi-hot.
      inside: float32 ``[n]``, 1 for rows that are trained on.
      ratio: float32 scalar r, similar over dissimilar pairs of the round's sample with all rows.
      subset: int32 ``[m]``, numbers of the rows that are trained on.
      frozen: bool ``[n]``, whether a row's code must stay as it is.
    """

    codes: Array
    outputs: Array
    labels: Array
    inside: Array
    ratio: Array
    subset: Array
    frozen: Array


def _sample(key: Array, epoch: Array, subset: Array, settings: AsymmetricSettings) -> Array:
    """Omega, the rows of an epoch's round: int32 ``[min(num_samples, m)]``."""
    return jax.random.permutation(jax.random.fold_in(round_key(key, epoch, settings), 1), subset)[
        : settings.num_samples
    ]


def _by_blocks(function: Any, rows: Array) -> Array:
    """Applies a function of ``[R, C]`` to rows ``[n, C]``, some at a time; results have a leading axis of n."""
    size = min(_ROWS_PER_BLOCK, rows.shape[0])
    blocks = parallel.pad_rows(rows, size).reshape(-1, size, rows.shape[1])
    results = jax.lax.map(function, blocks)
    return results.reshape(-1, *results.shape[2:])[: rows.shape[0]]


def pair_ratio(sampled: Array, labels: Array, inside: Array) -> Array:
    """r = similar pairs / dissimilar pairs, which makes the rows of the soft similarity sum to about zero.

    Args:
      sampled: float32 ``[s, C]``, labels of the sample.
      labels: float32 ``[n, C]`` of all rows.
      inside: float32 ``[n]``, weight of each row.

    Returns:
      float32 scalar; pairs are counted as shares, so that no large sum loses digits.
    """
    shares = _by_blocks(lambda block: jnp.mean(share_label(block, sampled), axis=1), labels)
    similar = jnp.sum(shares * inside) / jnp.sum(inside)
    return similar / jnp.maximum(1.0 - similar, 1e-6)


def update_codes(codes: Array, outputs: Array, sampled: Array, kept: Asymmetric, gamma: float) -> Array:
    """One sweep of discrete cyclic coordinate descent over the bits of V (ADSH, Eq. 8-9).

    It minimises ||U V^T - K S||^2 + gamma ||V_Omega - U||^2 over each column of V in turn, with soft similarity
    S = s (1 + r) - r. A row's code depends on no other row's, so that frozen codes stay and the others are as good.

    Args:
      codes: float32 ``[n, K]`` of {-1, 1}.
      outputs: float32 ``[n, K]``, U where sampled, zeros elsewhere.
      sampled: int32 ``[s]``, Omega.
      kept: Asymmetric, for labels, r and what is frozen.
      gamma: weight of the second term.

    Returns:
      float32 ``[n, K]`` of {-1, 1}.
    """
    num_bits = codes.shape[1]
    u = outputs[sampled]
    sampled_labels = kept.labels[sampled]
    similar = _by_blocks(lambda block: share_label(block, sampled_labels) @ u, kept.labels)
    wanted = (
        num_bits * ((1.0 + kept.ratio) * similar - kept.ratio * jnp.sum(u, axis=0, keepdims=True)) + gamma * outputs
    )
    gram = u.T @ u

    def sweep(bit: Array, codes: Array) -> Array:
        others = gram[:, bit].at[bit].set(0.0)
        column = wanted[:, bit] - codes @ others
        best = signs(column)
        return codes.at[:, bit].set(jnp.where(kept.frozen, codes[:, bit], best))

    return jax.lax.fori_loop(0, num_bits, sweep, codes)


def _begin(key: Array, begin: Start, num_bits: int, settings: AsymmetricSettings) -> Asymmetric:
    num_rows = len(begin.labels)
    labels = multi_hot(jnp.asarray(begin.labels), begin.num_classes)
    inside = jnp.zeros(num_rows, jnp.float32).at[begin.subset].set(1.0)
    _, loop_key = jax.random.split(key)
    first = _sample(loop_key, jnp.int32(0), jnp.asarray(begin.subset), settings)
    ratio = pair_ratio(labels[first], labels, inside)
    codes = jax.random.rademacher(jax.random.fold_in(key, 2), (num_rows, num_bits), jnp.float32)
    frozen = jnp.zeros(num_rows, bool)
    if begin.frozen is not None:
        codes = codes.at[begin.frozen.rows].set(2.0 * jnp.asarray(begin.frozen.codes, jnp.float32) - 1.0)
        frozen = frozen.at[begin.frozen.rows].set(True)
    return Asymmetric(codes, jnp.zeros_like(codes), labels, inside, ratio, begin.subset, frozen)


def no_penalty(u: Array, batch: Batch, kept: Asymmetric, axis_name: str | None) -> float:
    """ADSH adds nothing to its loss."""
    return 0.0


def asymmetric_phase(given: Ingredients, penalty: Callable[..., Array | float] = no_penalty) -> Phase:
    """The phase that learns an encoder and, between its rounds, the codes of rows that are not frozen.

    Args:
      given: Ingredients, with settings that are AsymmetricSettings.
      penalty: (u = tanh of the logits float32 ``[B, K]``, Batch, Asymmetric, axis_name) -> this device's share of what
        is added to the loss.

    Returns:
      The Phase, which hands on the codes of all rows too.
    """
    num_bits, settings = given.num_bits, given.settings

    def loss(logits: Array, batch: Batch, kept: Asymmetric, axis_name: str | None) -> Array:
        u = jnp.tanh(logits)
        soft = share_label(batch.labels, kept.labels) * (1.0 + kept.ratio) - kept.ratio
        residual = (u @ kept.codes.T - num_bits * soft) ** 2 @ kept.inside
        own = jnp.sum((kept.codes[batch.rows] - u) ** 2, axis=1)
        per_row = (residual + settings.gamma * own) / jnp.sum(kept.inside)
        return weighted_mean(per_row, batch.weights, axis_name) + penalty(u, batch, kept, axis_name)

    def keep_outputs(kept: Asymmetric, logits: Array, batch: Batch, axis_name: str | None) -> Asymmetric:
        return kept.replace(outputs=write_rows(kept.outputs, jnp.tanh(logits), batch, axis_name))

    def end_epoch(state: State, epoch: Array, key: Array, *, axis_name: str | None = None) -> State:
        def end_round(kept: Asymmetric) -> Asymmetric:
            sampled = _sample(key, epoch, kept.subset, settings)
            codes = update_codes(kept.codes, kept.outputs, sampled, kept, settings.gamma)
            following = _sample(key, epoch + 1, kept.subset, settings)
            ratio = pair_ratio(kept.labels[following], kept.labels, kept.inside)
            return kept.replace(codes=codes, outputs=jnp.zeros_like(codes), ratio=ratio)

        ends = ends_round(epoch, settings, given.training.num_epochs)
        return state.replace(extra=jax.lax.cond(ends, end_round, lambda kept: kept, state.extra))

    def sample_rows(key: Array, epoch: Array, subset: Array, labels: Array) -> Array:
        order_key, *_ = epoch_keys(key, epoch)
        return jax.random.permutation(order_key, _sample(key, epoch, subset, settings))

    return gradient_phase(
        given.encoder,
        given.training,
        loss,
        init_extra=lambda key, begin: _begin(key, begin, num_bits, settings),
        update_extra=keep_outputs,
        end_epoch=end_epoch,
        sample_rows=sample_rows,
        finish=lambda state: {"params": state.params, "codes": (state.extra.codes > 0).astype(jnp.uint8)},
    )


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """ADSH (Jiang and Li, AAAI 2018) for codes of one length."""
    return Method((asymmetric_phase(given),), encoder_logits(given.encoder))
