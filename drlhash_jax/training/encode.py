"""Codes of inputs under a trained method."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.types import Array

# (params, normalised inputs float32 [B, ...]) -> logits float32 [B, K]; bit k of a code is 1 iff logit k >= 0.
Logits = Callable[[Any, Array], Array]


def _batch_logits(
    params: Mapping[str, Any], inputs: Array, spec: InputSpec, *, logits: Logits, axis_name: str | None
) -> Array:
    """Logits float32 ``[B, K]`` of one batch, divided among the devices."""
    x = prepare_inputs(parallel.local_rows(inputs, axis_name), spec)
    return parallel.gather_rows(logits(params, x), axis_name)


def _rows_per_call(inputs: Any, spec: InputSpec) -> int:
    """1,024 rows, or fewer for images: a mebipixel, so that activations stay within a few hundred megabytes."""
    if len(inputs.shape) != 4:
        return 1024
    pixels = spec.image_size**2 if spec.image_size else inputs.shape[1] * inputs.shape[2]
    return max(1, min(1024, 2**20 // pixels))


def encode_logits(
    logits: Logits,
    params: Mapping[str, Any],
    inputs: Any,
    spec: InputSpec,
    batch_size: int | None = None,
    devices: parallel.Devices | None = None,
) -> np.ndarray:
    """Logits of any number of inputs, in batches of one size.

    Args:
      logits: see `Logits`; the same object gives the same compiled program.
      params: its parameters.
      inputs: ``[N, ...]`` as stored, in memory or read when sliced.
      spec: the normalisation that it was trained with.
      batch_size: rows per call and device; chosen by the size of the inputs if None.
      devices: that share each batch; None for the default device.

    Returns:
      float32 ``[N, K]``.
    """
    num_rows = len(inputs)
    batch_size = (batch_size or _rows_per_call(inputs, spec)) * (1 if devices is None else devices.mesh.size)
    step = parallel.wrap_step(_batch_logits, devices, logits=logits)
    params, spec = parallel.replicate((params, spec), devices)
    found = []
    # At least one batch, so that no rows give no codes of the right width.
    for start in range(0, max(num_rows, 1), batch_size):
        batch = np.asarray(inputs[start : start + batch_size])
        padding = [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
        out = step(params, np.pad(batch, padding), spec)
        found.append(np.asarray(parallel.fetch(out, devices))[: len(batch)])
    return np.concatenate(found)


def encode_codes(logits: Logits, params: Mapping[str, Any], inputs: Any, spec: InputSpec, **options) -> np.ndarray:
    """Codes uint8 ``[N, K]`` of {0, 1}: bit 1 iff logit >= 0 (thesis Eq. 3.13); arguments as in `encode_logits`."""
    return (encode_logits(logits, params, inputs, spec, **options) >= 0).astype(np.uint8)
