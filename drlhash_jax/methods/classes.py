"""What methods that learn classes share."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from drlhash_jax.training import Batch, Phase, Start, State, weighted_mean
from drlhash_jax.types import Array


def class_cross_entropy(scores: Array, labels: Array, weights: Array, axis_name: str | None) -> Array:
    """This device's share of the mean over rows of -sum_c q_c log softmax(scores)_c, where q = y / sum(y).

    With one label for each row this is the usual cross-entropy. A row of several labels wants each of them with the
    same probability. Binary cross-entropy, the other choice, would have to be told which data are multi-label, and with
    many classes most of it is about labels that a row does not have.

    Args:
      scores: float32 ``[B, C]``.
      labels: float32 ``[B, C]`` multi-hot, y.
      weights: float32 ``[B]``, 0 marking rows that do not count.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      float32 scalar; a row without a label adds 0 to it.
    """
    wanted = labels / jnp.maximum(jnp.sum(labels, axis=1, keepdims=True), 1.0)
    return weighted_mean(-jnp.sum(wanted * jax.nn.log_softmax(scores), axis=1), weights, axis_name)


def cross_entropy(scores: Array, batch: Batch, extra: Mapping[str, Array], axis_name: str | None) -> Array:
    """This device's share of the loss of class scores float32 ``[B, C]``, whose minimum is the posterior.

    Softmax cross-entropy, or where extra["multi_label"], a bool scalar, is true the mean of the labels' sigmoid ones.
    """
    softmax = optax.softmax_cross_entropy(scores, batch.labels)
    sigmoid = jnp.mean(optax.sigmoid_binary_cross_entropy(scores, batch.labels), axis=1)
    return weighted_mean(jnp.where(extra["multi_label"], sigmoid, softmax), batch.weights, axis_name)


def posterior_of_scores(scores: Array, multi_label: Array) -> Array:
    """float32 ``[B, C]``: sigmoid of class scores if multi_label, a bool scalar, is true, else softmax."""
    return jnp.where(multi_label, jax.nn.sigmoid(scores), jax.nn.softmax(scores))


def for_classes(make_phase: Callable[[int], Phase]) -> Phase:
    """A phase whose network depends on the number of classes, which only training rows tell."""

    def init(key: Array, begin: Start) -> State:
        return make_phase(begin.num_classes).init(key, begin)

    def step(state: State, batch: Batch, key: Array, **options):
        return make_phase(batch.labels.shape[1]).step(state, batch, key, **options)

    return make_phase(1)._replace(init=init, step=step)
