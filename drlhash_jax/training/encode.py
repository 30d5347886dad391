"""Codes of inputs under a trained encoder."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.types import Array


def binarize(logits: Array) -> Array:
    """Bit 1 iff logit >= 0 (thesis Eq. 3.13): uint8, shape of the logits."""
    return (logits >= 0).astype(jnp.uint8)


def _batch_logits(
    params: dict,
    inputs: Array,
    mean: Array,
    scale: Array,
    *,
    encoder: nn.Module,
    image_size: int | None,
    crop_size: int | None,
    axis_name: str | None,
) -> Array:
    """Logits float32 ``[B, K]`` of one batch, divided among the devices."""
    x = prepare_inputs(parallel.local_rows(inputs, axis_name), mean, scale, image_size, crop_size)
    return parallel.gather_rows(encoder.apply({"params": params}, x, train=False), axis_name)


def _rows_a_call(inputs: np.ndarray, spec: InputSpec) -> int:
    """1,024 rows, or fewer for images: a mebipixel, so that activations stay within a few hundred megabytes."""
    if inputs.ndim != 4:
        return 1024
    pixels = spec.image_size**2 if spec.image_size else inputs.shape[1] * inputs.shape[2]
    return max(1, min(1024, 2**20 // pixels))


def encode_logits(
    encoder: nn.Module,
    params: dict,
    inputs: np.ndarray,
    spec: InputSpec,
    batch_size: int | None = None,
    devices: parallel.Devices | None = None,
) -> np.ndarray:
    """Logits of any number of inputs, in batches of one size.

    Args:
      encoder: a module of `encoders`.
      params: its parameters.
      inputs: ``[N, ...]`` as stored.
      spec: the normalisation that the encoder was trained with.
      batch_size: rows a call and device; chosen by the size of the inputs if None.
      devices: that share each batch; None for the default device.

    Returns:
      float32 ``[N, K]``.
    """
    num_rows = len(inputs)
    batch_size = (batch_size or _rows_a_call(inputs, spec)) * (1 if devices is None else devices.mesh.size)
    sizes = {"image_size": spec.image_size, "crop_size": spec.crop_size}
    step = parallel.wrap_step(_batch_logits, devices, encoder=encoder, **sizes)
    params = parallel.replicate(params, devices)
    logits = []
    # At least one batch, so that no rows give no codes of the right width.
    for start in range(0, max(num_rows, 1), batch_size):
        batch = inputs[start : start + batch_size]
        padding = [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1)
        out = step(params, np.pad(batch, padding), spec.mean, spec.scale)
        logits.append(np.asarray(parallel.fetch(out, devices))[: len(batch)])
    return np.concatenate(logits)


def encode_codes(
    encoder: nn.Module,
    params: dict,
    inputs: np.ndarray,
    spec: InputSpec,
    batch_size: int | None = None,
    devices: parallel.Devices | None = None,
) -> np.ndarray:
    """Codes uint8 ``[N, K]`` of {0, 1}; arguments as in `encode_logits`."""
    return (encode_logits(encoder, params, inputs, spec, batch_size, devices) >= 0).astype(np.uint8)
