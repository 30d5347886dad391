"""Encoders: networks from inputs to K logits; bit k of a code is 1 iff logit k >= 0."""

import flax.linen as nn

from drlhash_jax.encoders.alexnet import AlexNet
from drlhash_jax.encoders.compact import Compact
from drlhash_jax.encoders.efficientnet_lite import EfficientNetLite0
from drlhash_jax.encoders.inputs import INPUT_STATISTICS, InputSpec, fit_input_spec, prepare_inputs
from drlhash_jax.encoders.mlp import MLP
from drlhash_jax.encoders.pretrained import PUBLISHED_LAYERS, import_weights
from drlhash_jax.encoders.vgg import VGG19, VGG19BN

ENCODERS = {
    "alexnet": AlexNet,
    "compact": Compact,
    "efficientnet_lite0": EfficientNetLite0,
    "mlp": MLP,
    "vgg19": VGG19,
    "vgg19_bn": VGG19BN,
}
# What an encoder reads; its last layer is named "head" in every one.
INPUT_KINDS = {name: "features" if name == "mlp" else "images" for name in ENCODERS}
# Encoders that read colour images, with the one side length that they read; None where any will do.
COLOUR_SIZES = {"alexnet": 224, "efficientnet_lite0": None, "vgg19": 224, "vgg19_bn": 224}
COMPUTE_DTYPES = ("float32", "bfloat16")


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
    "COLOUR_SIZES",
    "COMPUTE_DTYPES",
    "ENCODERS",
    "INPUT_KINDS",
    "INPUT_STATISTICS",
    "PUBLISHED_LAYERS",
    "AlexNet",
    "Compact",
    "EfficientNetLite0",
    "InputSpec",
    "MLP",
    "VGG19",
    "VGG19BN",
    "fit_input_spec",
    "import_weights",
    "make_encoder",
    "prepare_inputs",
]
