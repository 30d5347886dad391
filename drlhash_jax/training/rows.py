"""Training rows for many trainings: on the devices if they fit there, otherwise read batch by batch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec
from drlhash_jax.training.phase import FrozenCodes
from drlhash_jax.types import Array


class TrainingRows(NamedTuple):
    """The rows that every training of a run draws from.

    Attributes:
      inputs: ``[n, ...]`` as stored, in memory or read when sliced; None where only labels are known.
      labels: int32 ``[n]`` from 0 to C - 1 and -1 for none, or uint8 multi-hot ``[n, C]``.
      num_classes: C.
      spec: normalisation of the inputs; None where there are none.
      pretrained: layer -> parameters that encoders start from.
      on_devices: inputs and labels on every device; None for inputs that are too large, or absent.
      devices: that share the work; None for the default device.
      frozen: codes that some rows have already; None for none.
    """

    inputs: Any
    labels: np.ndarray
    num_classes: int
    spec: InputSpec | None
    pretrained: Mapping[str, Any]
    on_devices: tuple[Array | None, Array]
    devices: parallel.Devices | None
    frozen: FrozenCodes | None = None

    @property
    def streamed(self) -> bool:
        """Whether inputs are read in batches while training."""
        return self.inputs is not None and self.on_devices[0] is None


def number_classes(labels: np.ndarray) -> np.ndarray:
    """Integer labels ``[n]`` as int32 from 0 to C - 1, in order, negative ones as -1; multi-hot ones as they are."""
    if labels.ndim == 2:
        return labels
    classes, numbers = np.unique(labels, return_inverse=True)
    return np.maximum(numbers - int((classes < 0).sum()), -1).astype(np.int32)


def place_rows(
    inputs: Any,
    labels: np.ndarray,
    spec: InputSpec | None,
    *,
    pretrained: Mapping[str, Any] | None = None,
    devices: parallel.Devices | None = None,
    resident_bytes: int = 2**30,
    frozen: FrozenCodes | None = None,
) -> TrainingRows:
    """Copies the rows to the devices, once, if they fit.

    Args:
      inputs: ``[n, ...]`` as stored: an array, or anything with its shape and dtype that is read when sliced.
      labels: integer ``[n]`` or multi-hot ``[n, C]``.
      spec: normalisation of the inputs.
      pretrained: layer -> parameters that encoders start from.
      devices: that share the work; None for the default device.
      resident_bytes: the most that inputs may take on a device; larger ones are read in batches while training.
      frozen: codes that some rows have already.

    Returns:
      TrainingRows.
    """
    labels = number_classes(np.asarray(labels))
    num_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=-1)) + 1
    fits = inputs is not None and np.dtype(inputs.dtype).itemsize * int(np.prod(inputs.shape)) <= resident_bytes
    on_devices = parallel.replicate((np.asarray(inputs[:]) if fits else None, labels), devices)
    return TrainingRows(inputs, labels, num_classes, spec, pretrained or {}, on_devices, devices, frozen)
