"""What losses over the triplets of a batch share.

A triplet is an anchor i, and rows j and k of the batch of which j shares more labels with i than k does. With one label
a row, j is of the anchor's class and k is not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.methods.pairs import pair_rows
from drlhash_jax.training import Batch
from drlhash_jax.types import Array


class Anchors(NamedTuple):
    """This device's B rows as anchors, against all M rows of the batch on all devices.

    Attributes:
      outputs: ``[M, ...]``, what was given for each row, of all rows; gradients flow through it.
      shared: float32 ``[B, M]``, number of labels that two rows share.
      weights: float32 ``[B, M]``, 0 where a row is padding, or is paired with itself; 1 elsewhere.
    """

    outputs: Array
    shared: Array
    weights: Array


def anchor_rows(outputs: Array, batch: Batch, axis_name: str | None) -> Anchors:
    """Sets up the triplets of a batch.

    Args:
      outputs: ``[B, ...]`` of this device's rows.
      batch: Batch of these rows.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      Anchors.
    """
    pairs = pair_rows(outputs, batch, axis_name)
    shared = batch.labels @ parallel.gather_rows(batch.labels, axis_name).T
    return Anchors(pairs.outputs, shared, pairs.weights)


def hinges(distances: Array, shared: Array, weights: Array, margin: float) -> tuple[Array, Array]:
    """max(0, margin + d_j - d_k) for all triplets of one anchor.

    Args:
      distances: float32 ``[M]``, d from the anchor.
      shared: float32 ``[M]``, labels shared with the anchor.
      weights: float32 ``[M]``, of the pairs with the anchor.
      margin: by how much k should be farther than j.

    Returns:
      float32 ``[M, M]``, the hinges, 0 where j and k make no triplet; and float32 ``[M, M]``, which do.
    """
    counted = (shared[:, None] > shared[None, :]) * weights[:, None] * weights[None, :]
    return jax.nn.relu(margin + distances[:, None] - distances[None, :]) * counted, counted


def for_each_anchor(function: Callable[..., Any], *rows: Array) -> Any:
    """Results of a function of one row of each array ``[B, ...]``, stacked; M^2 numbers of one anchor at a time.

    The backward pass computes them again, so that memory does not grow with the number of anchors there either.
    """
    return jax.lax.map(jax.checkpoint(lambda each: function(*each)), rows)


def mean_over_triplets(distances: Array, anchors: Anchors, margin: float, axis_name: str | None) -> Array:
    """This device's share of the mean of max(0, margin + d_ij - d_ik) over all triplets; 0 if there is none.

    Args:
      distances: float32 ``[B, M]``.
      anchors: Anchors.
      margin: by how much k should be farther than j.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      float32 scalar.
    """

    def sums(*row: Array) -> tuple[Array, Array]:
        values, counted = hinges(*row, margin)
        return jnp.sum(values), jnp.sum(counted)

    values, counts = for_each_anchor(sums, distances, anchors.shared, anchors.weights)
    return jnp.sum(values) / jnp.maximum(parallel.total(jnp.sum(counts), axis_name), 1.0)
