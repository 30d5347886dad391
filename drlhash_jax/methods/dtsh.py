"""DTSH: the likelihood of triplets, a row being nearer to one that shares a label with it than to one that does not.

Xiaofang Wang, Yi Shi and Kris M. Kitani, "Deep Supervised Hashing with Triplet Labels", ACCV 2016.

With outputs u and theta_ij = u_i . u_j / 2, over all triplets (q, p, n) of a batch in which row p shares a label with
row q and row n shares none:

    L = mean_qpn log(1 + e^-(theta_qp - theta_qn - alpha)) + lambda mean_ik (u_ik - sign(u_ik))^2.

The code is the sign of u.

What differs from the paper: means stand in place of sums, so that learning rates and lambda mean the same for any batch
size and K.

Hyper-parameters: alpha is K times "margin_per_bit"; .5, half of the bits, is the paper's as far as we know it, while
public implementations take alpha = 5 whatever K. Lambda 1, with means, is that of public implementations. Adam at 1e-3
suits it, with weight decay 1; momentum diverges at .03.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.pairs import pair_rows
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, gradient_phase, weighted_mean
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class DTSHSettings(Settings):
    """Settings of DTSH."""

    margin_per_bit: float = setting(
        0.5, "alpha / K, what theta of triplets should differ by", least=0.0, most=1e6, search=(0.25, 1.0)
    )
    quantisation_weight: float = setting(1.0, "lambda, weight of (|u| - 1)^2", least=0.0, most=1e6)


def _sum_and_slopes(theta: Array, positive: Array, negative: Array, margin: float) -> tuple[Array, Array]:
    """The sum, float32 scalar, and its gradient in theta, float32 ``[B, M]``; see `sum_over_triplets`."""
    order = jnp.argsort(positive, axis=1, descending=True)

    def add(number: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        sums, slopes = carry
        # One p of each q; where q has none left, its weight is 0.
        place = jax.lax.dynamic_slice_in_dim(order, number, 1, axis=1)
        weights = jnp.take_along_axis(positive, place, axis=1) * negative
        short = theta + margin - jnp.take_along_axis(theta, place, axis=1)
        pushed = weights * jax.nn.sigmoid(short)
        pulled = (jnp.arange(theta.shape[1])[None, :] == place) * jnp.sum(pushed, axis=1, keepdims=True)
        return sums + weights * jax.nn.softplus(short), slopes + pushed - pulled

    most = jnp.max(jnp.sum(positive > 0, axis=1))
    # Zeros that differ from device to device, as what is added to them does.
    nothing = 0.0 * theta
    sums, slopes = jax.lax.fori_loop(0, most, add, (nothing, nothing))
    return jnp.sum(sums), slopes


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def sum_over_triplets(theta: Array, positive: Array, negative: Array, margin: float) -> Array:
    """Sum of log(1 + e^-(theta_qp - theta_qn - margin)) over triplets, float32 scalar.

    Of B x M x M triplets it looks at one p of every q at a time, as often as the row with most positives has some, and
    finds the gradient in theta on the way. So memory is B x M, and work is B x M times these positives.

    Args:
      theta: float32 ``[B, M]`` of rows q and all rows of the batch.
      positive: float32 ``[B, M]``, 1 where the pair may be (q, p), 0 elsewhere.
      negative: float32 ``[B, M]``, 1 where the pair may be (q, n), 0 elsewhere.
      margin: alpha.
    """
    return _sum_and_slopes(theta, positive, negative, margin)[0]


def _forward(theta, positive, negative, margin):
    return _sum_and_slopes(theta, positive, negative, margin)


def _backward(margin, slopes, cotangent):
    return cotangent * slopes, None, None


sum_over_triplets.defvjp(_forward, _backward)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """DTSH (Wang et al., ACCV 2016) for codes of one length."""
    settings = given.settings
    margin = settings.margin_per_bit * given.num_bits

    def loss(logits: Array, batch: Batch, extra: None, axis_name: str | None) -> Array:
        others, similar, weights = pair_rows(logits, batch, axis_name)
        positive, negative = similar * weights, (1.0 - similar) * weights
        triplets = sum_over_triplets(0.5 * logits @ others.T, positive, negative, margin)
        count = parallel.total(jnp.sum(jnp.sum(positive, axis=1) * jnp.sum(negative, axis=1)), axis_name)
        squares = jnp.mean((jnp.abs(logits) - 1.0) ** 2, axis=1)
        quantisation = weighted_mean(squares, batch.weights, axis_name)
        return triplets / jnp.maximum(count, 1.0) + settings.quantisation_weight * quantisation

    return Method((gradient_phase(given.encoder, given.training, loss),), encoder_logits(given.encoder))
