"""Relaxation-free hashing by policy gradient: bits are drawn, and the network learns which draws earn more.

Yuan, Ren, Lu and Zhou, "Relaxation-Free Deep Hashing via Policy Gradient", ECCV 2018.

Bit k of row i is 1 with probability sigmoid(u_ik), each for itself. With drawn codes b in {-1, 1}^K, a pair earns

    r_ij = -(b_i . b_j / K - S_ij)^2,    S = 1 for rows that share a label, -1 for others,

and the objective is the expected mean of r over the pairs of a batch. Nothing is relaxed: the gradient is REINFORCE
(Williams, 1992) over T draws of the codes of all rows,

    grad = mean_t sum_i A_i^t grad log p(b_i^t),    A_i^t = R_i^t - mean of R_i^s over the other draws s,

where R_i is what all pairs with row i earn. The mean of the other draws is the baseline ("leave-one-out", Kool et al.,
2019): it depends on no draw that it is subtracted from, so that the estimate stays unbiased. A bit of a code is 1 iff
u >= 0, which is its more probable value.

From the paper's summary: bits as draws of a policy, a reward for keeping the similarity of pairs, the policy gradient,
and nothing relaxed. Its equations were not at hand. The form of r, which is the first stage of the thesis for two rows
of bits, the baseline and T = 8 are ours.

It stays behind HashNet and DTSH on CIFAR-10 features, since 20 epochs of draws are too few for it to settle: the
training loss ends at .88 with 8 draws and at .86 with 32, and codes of the thesis's first stage come to about .72. What
helped on held-out training rows (`configs/compare_cifar10_features.py`, 32 bits), mAP: Adam at rate .001 gives .586,
and .597 with 32 draws; at .0002 .491; with weight decay 3 .552; momentum at .1 .556, and at rate 1 it does not learn,
.189.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.pairs import mean_over_pairs, pair_rows
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, gradient_phase
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class PGDHSettings(Settings):
    """Settings of PGDH."""

    num_draws: int = setting(8, "T, codes drawn for each row in a step", least=2, most=1_000, search=(32,))


def draw_bits(logits: Array, batch: Batch, num_draws: int) -> Array:
    """Bits of Bernoulli(sigmoid u): float32 ``[B, T, K]`` of {0, 1}; a row's do not depend on the number of devices."""

    def uniform(row: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(batch.key, row), (num_draws, logits.shape[1]))

    return (jax.vmap(uniform)(batch.rows) < jax.nn.sigmoid(logits)[:, None]).astype(jnp.float32)


def log_probability(logits: Array, bits: Array) -> Array:
    """log p of drawn bits ``[B, T, K]`` under logits ``[B, K]``: float32 ``[B, T]``."""
    return -jnp.sum(jax.nn.softplus((1.0 - 2.0 * bits) * logits[:, None]), axis=2)


def leave_one_out(rewards: Array) -> Array:
    """Rewards less the mean of those of all other draws: float32 ``[B, T]``, along the last axis."""
    num_draws = rewards.shape[-1]
    return (rewards - jnp.mean(rewards, axis=-1, keepdims=True)) * (num_draws / (num_draws - 1))


def policy_loss(logits: Array, bits: Array, batch: Batch, axis_name: str | None) -> Array:
    """This device's share of the negative mean reward, with the gradient of REINFORCE.

    Args:
      logits: float32 ``[B, K]``, u.
      bits: float32 ``[B, T, K]`` of {0, 1}, drawn.
      batch: Batch of the rows.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      float32 scalar.
    """
    codes = 2.0 * bits - 1.0
    pairs = pair_rows(codes, batch, axis_name)
    products = jnp.einsum("btk,mtk->btm", codes, pairs.outputs) / codes.shape[2]
    rewards = -((products - (2.0 * pairs.similar - 1.0)[:, None]) ** 2)
    value = -mean_over_pairs(jnp.mean(rewards, axis=1), pairs.weights, axis_name)
    # A pair of rows is counted from both sides, so that a row has its part in twice its own sum.
    own = 2.0 * jnp.sum(rewards * pairs.weights[:, None], axis=2)
    advantages = leave_one_out(own) / jnp.maximum(parallel.total(jnp.sum(pairs.weights), axis_name), 1.0)
    surrogate = -jnp.sum(jnp.mean(advantages * log_probability(logits, bits), axis=1))
    # Worth nothing, but for its gradient.
    return value + surrogate - jax.lax.stop_gradient(surrogate)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """PGDH (Yuan et al., ECCV 2018) for codes of one length."""

    def loss(logits: Array, batch: Batch, extra: None, axis_name: str | None) -> Array:
        return policy_loss(logits, draw_bits(logits, batch, given.settings.num_draws), batch, axis_name)

    return Method((gradient_phase(given.encoder, given.training, loss),), encoder_logits(given.encoder))
