"""What losses over the pairs of a batch share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.training import Batch
from drlhash_jax.types import Array


def share_label(a: Array, b: Array) -> Array:
    """Whether rows have a label in common, s: float32 ``[A, B]`` of multi-hot labels ``[A, C]`` and ``[B, C]``."""
    return (a @ b.T > 0).astype(jnp.float32)


def negative_log_likelihood(theta: Array, similar: Array) -> Array:
    """-log p(s | theta) = log(1 + e^theta) - s theta, elementwise, with p(s = 1) the sigmoid of theta; no overflow."""
    return jax.nn.softplus(theta) - similar * theta


def squared_distances(a: Array, b: Array) -> Array:
    """||a_i - b_j||^2, float32 ``[B, M]``, of ``[B, K]`` and ``[M, K]`` with entries of order one; never negative."""
    squares = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None, :]
    return jnp.maximum(squares - 2.0 * a @ b.T, 0.0)


def write_rows(buffer: Array, outputs: Array, batch: Batch, axis_name: str | None) -> Array:
    """A buffer of all rows float32 ``[n, K]`` with the outputs ``[B, K]`` of a batch written in, on all devices."""
    rows, weights, outputs = parallel.gather_rows((batch.rows, batch.weights, outputs), axis_name)
    # Padding writes to a row that does not exist.
    places = jnp.where(weights > 0, rows, buffer.shape[0])
    return buffer.at[places].set(outputs, mode="drop")


class Pairs(NamedTuple):
    """Pairs of this device's B rows with all M rows of the batch on all devices.

    Attributes:
      outputs: ``[M, ...]``, what was given for each row, of all rows; gradients flow through it.
      similar: float32 ``[B, M]``, s.
      weights: float32 ``[B, M]``, 0 where a row is padding, or is paired with itself.
    """

    outputs: Array
    similar: Array
    weights: Array


def pair_rows(outputs: Array, batch: Batch, axis_name: str | None) -> Pairs:
    """Pairs every row with every other row of the batch.

    Args:
      outputs: ``[B, ...]`` of this device's rows.
      batch: Batch of these rows.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      Pairs.
    """
    everyone = parallel.gather_rows((outputs, batch.labels, batch.rows, batch.weights), axis_name)
    outputs, labels, rows, weights = everyone
    others = (batch.rows[:, None] != rows[None, :]).astype(jnp.float32)
    return Pairs(outputs, share_label(batch.labels, labels), others * batch.weights[:, None] * weights[None, :])


def mean_over_pairs(values: Array, weights: Array, axis_name: str | None) -> Array:
    """This device's share of a weighted mean over all pairs of the batch; 0 if no pair counts.

    Args:
      values: float32 ``[B, M]``.
      weights: float32 ``[B, M]``; constant in the parameters.
      axis_name: axis of the devices that share the batch; None for one.
    """
    count = parallel.total(jnp.sum(weights), axis_name)
    return jnp.sum(values * weights) / jnp.maximum(count, 1e-6)
