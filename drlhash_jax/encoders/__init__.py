"""Encoders: networks from inputs to K logits; bit k of a code is 1 iff logit k >= 0."""

import flax.linen as nn

from drlhash_jax.encoders.alexnet import AlexNet
from drlhash_jax.encoders.compact import Compact
from drlhash_jax.encoders.inputs import InputSpec, fit_input_spec, prepare_inputs
from drlhash_jax.encoders.mlp import MLP

ENCODERS = {"alexnet": AlexNet, "compact": Compact, "mlp": MLP}
# What an encoder reads; its last layer is named "head" in every one.
INPUT_KINDS = {"alexnet": "images", "compact": "images", "mlp": "features"}


def make_encoder(name: str, num_bits: int, **options) -> nn.Module:
    """Builds an encoder by name.

    Args:
      name: a key of `ENCODERS`.
      num_bits: K, the number of outputs.
      **options: other attributes of the encoder's class.

    Returns:
      A module whose ``apply(variables, x, train=...)`` gives float32 logits ``[B, K]``.
    """
    return ENCODERS[name](num_outputs=num_bits, **options)


__all__ = [
    "ENCODERS",
    "INPUT_KINDS",
    "AlexNet",
    "Compact",
    "InputSpec",
    "MLP",
    "fit_input_spec",
    "make_encoder",
    "prepare_inputs",
]
