"""Where the batches of an epoch come from: rows on the devices, or rows read on the host while the devices compute."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.training.augment import random_views
from drlhash_jax.types import Array

# Read ahead at a time: large enough to hide the start of a call, small enough for many rows of pictures.
CHUNK_BYTES = 64 * 2**20


def epoch_batches(order: Array, batch_size: int) -> tuple[Array, Array]:
    """An epoch's rows, cut into batches.

    Args:
      order: int32 ``[r]``, row numbers.
      batch_size: B.

    Returns:
      Row numbers int32 ``[M, B]`` and weights float32 ``[M, B]``; the last batch is filled up with weight 0.
    """
    num_rows = order.shape[0]
    num_batches = -(-num_rows // batch_size)
    filling = num_batches * batch_size - num_rows
    weights = jnp.arange(num_batches * batch_size) < num_rows
    shape = num_batches, batch_size
    return jnp.pad(order, (0, filling)).reshape(shape), weights.astype(jnp.float32).reshape(shape)


def see(inputs: Array, rows: Array, views_key: Array, spec: InputSpec, max_shift: int) -> Array:
    """What the network sees of stored inputs: normalised, and images in a random view unless max_shift is negative."""
    if max_shift < 0 or spec.kind != "images":
        return prepare_inputs(inputs, spec)
    return random_views(views_key, rows, prepare_inputs(inputs, spec, crop=False), max_shift, spec.crop_size)


def multi_hot(labels: Array, num_classes: int) -> Array:
    """float32 ``[B, C]`` of class numbers int32 ``[B]``, negative for none, or of multi-hot rows ``[B, C]``."""
    if labels.ndim == 2:
        return labels.astype(jnp.float32)
    return jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)


@struct.dataclass
class Resident:
    """All rows on every device.

    Attributes:
      inputs: ``[n, ...]`` as stored, or None.
      labels: int32 ``[n]`` or uint8 ``[n, C]``.
      subset: int32 ``[m]``, the rows to train on.
    """

    inputs: Array | None
    labels: Array
    subset: Array

    def batches(self, sample: Callable[[Array, Array], Array], batch_size: int, axis_name: str | None) -> Callable:
        """Function of a batch's number that gives this device's stored inputs, labels, rows and weights.

        Args:
          sample: (subset, labels) -> int32 ``[r]``, the rows of the epoch in their order.
          batch_size: rows of a batch on all devices together.
          axis_name: axis of the devices; None for one.
        """
        order = sample(self.subset, self.labels)
        picked, weights = parallel.local_rows(epoch_batches(order, batch_size), axis_name, axis=1)
        return lambda index: (self.inputs[picked[index]], self.labels[picked[index]], picked[index], weights[index])


@struct.dataclass
class Chunk:
    """Some batches of an epoch, read on the host.

    Attributes:
      inputs: ``[S, B, ...]`` as stored; batches beyond the last are zeros.
      labels: ``[S, B]`` or ``[S, B, C]``.
      picked: int32 ``[S, B]``, row numbers.
      weights: float32 ``[S, B]``.
      subset: int32 ``[m]``, the rows to train on.
      first: int32 scalar, number of the first batch in its epoch.
    """

    inputs: Array
    labels: Array
    picked: Array
    weights: Array
    subset: Array
    first: Array

    def batches(self, sample: Callable[[Array, Array], Array], batch_size: int, axis_name: str | None) -> Callable:
        """As in `Resident`, for the batches of the chunk, which were sampled when they were read."""
        parts = self.inputs, self.labels, self.picked, self.weights
        local = parallel.local_rows(parts, axis_name, axis=1)
        return lambda index: jax.tree.map(lambda x: x[index - self.first], local)


class HostFeed:
    """Reads the batches that come next on a thread of its own, and counts how long the loop waits for them."""

    def __init__(self, rows: Any, subset: np.ndarray, order_of: Callable[[int], np.ndarray], sizes: Any):
        """Nothing is read yet.

        Args:
          rows: TrainingRows.
          subset: int32 ``[m]``, the rows to train on.
          order_of: epoch -> row numbers of its batches int32 ``[M, B]`` and weights float32 ``[M, B]``.
          sizes: with `num_batches` M of an epoch, `num_steps` in all, and `chunk` S.
        """
        self._rows, self._subset, self._order_of, self._sizes = rows, subset, order_of, sizes
        self._order: tuple[int, Any] = (-1, None)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[int, Future] | None = None
        self._started = time.perf_counter()
        self.waited = 0.0

    @property
    def waiting(self) -> float:
        """Share of the time since the start, or since the last look, that the loop waited for batches."""
        now = time.perf_counter()
        share = self.waited / max(now - self._started, 1e-9)
        self._started, self.waited = now, 0.0
        return share

    def close(self) -> None:
        """Ends the thread."""
        self._pool.shutdown(cancel_futures=True)

    def chunk(self, position: int) -> Chunk:
        """The chunk that begins at a step; the one after it is read meanwhile."""
        began = time.perf_counter()
        if self._ahead is None or self._ahead[0] != position:
            self._ahead = position, self._pool.submit(self._read, position)
        found = self._ahead[1].result()
        self.waited += time.perf_counter() - began
        stop = self._sizes.next_stop(position)
        if stop < self._sizes.num_steps:
            self._ahead = stop, self._pool.submit(self._read, stop)
        return found

    def _read(self, position: int) -> Chunk:
        epoch, first = divmod(position, self._sizes.num_batches)
        if self._order[0] != epoch:
            self._order = epoch, self._order_of(epoch)
        picked, weights = (part[first : first + self._sizes.chunk] for part in self._order[1])
        missing = self._sizes.chunk - len(picked)
        picked, weights = (np.pad(part, ((0, missing), (0, 0))) for part in (picked, weights))
        inputs = np.asarray(self._rows.inputs[picked.ravel()]).reshape(*picked.shape, *self._rows.inputs.shape[1:])
        labels = self._rows.labels[picked]
        chunk = Chunk(inputs, labels, picked, weights, self._subset, np.int32(first))
        return parallel.replicate(chunk, self._rows.devices)
