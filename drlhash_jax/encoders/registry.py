"""Encoders by name, one record each."""

from typing import NamedTuple

import flax.linen as nn

from drlhash_jax.encoders import pretrained
from drlhash_jax.encoders.alexnet import AlexNet
from drlhash_jax.encoders.compact import Compact
from drlhash_jax.encoders.efficientnet_lite import EfficientNetLite0, EfficientNetLite2
from drlhash_jax.encoders.mlp import MLP
from drlhash_jax.encoders.vgg import VGG19, VGG19BN

# Attributes of every encoder's class that are not options of a configuration.
_NOT_OPTIONS = {"parent", "name", "num_outputs", "compute_dtype"}


class Encoder(NamedTuple):
    """What is known of an encoder; its last layer is named "head" in every one.

    Attributes:
      module: class of its network.
      reads: "features" or "images".
      colour: whether images must have three channels.
      image_size: the one side in pixels that it reads; None where any will do.
      statistics: mean and scale of a byte that its published weights expect; None for those of ImageNet.
      published: where its parameters stand in published files; None if there are none.
    """

    module: type[nn.Module]
    reads: str = "images"
    colour: bool = False
    image_size: int | None = None
    statistics: tuple[float, float] | None = None
    published: pretrained.Published | None = None

    @property
    def options(self) -> list[str]:
        """Attributes that a configuration may set."""
        return sorted(set(self.module.__dataclass_fields__) - _NOT_OPTIONS)


ENCODERS = {
    "alexnet": Encoder(AlexNet, colour=True, image_size=224, published=pretrained.ALEXNET),
    "compact": Encoder(Compact),
    "efficientnet_lite0": Encoder(
        EfficientNetLite0, colour=True, statistics=(127.0, 128.0), published=pretrained.EFFICIENTNET_LITE0
    ),
    "efficientnet_lite2": Encoder(
        EfficientNetLite2, colour=True, statistics=(127.0, 128.0), published=pretrained.EFFICIENTNET_LITE2
    ),
    "mlp": Encoder(MLP, reads="features"),
    "vgg19": Encoder(VGG19, colour=True, image_size=224, published=pretrained.VGG19),
    "vgg19_bn": Encoder(VGG19BN, colour=True, image_size=224, published=pretrained.VGG19_BN),
}


def make_encoder(name: str, num_bits: int, **options) -> nn.Module:
    """Builds an encoder by name.

    Args:
      name: a key of `ENCODERS`.
      num_bits: K, the number of outputs.
      **options: other attributes of the encoder's class.

    Returns:
      A module whose ``apply(variables, x, train=...)`` gives float32 logits ``[B, K]``.
    """
    return ENCODERS[name].module(num_outputs=num_bits, **options)
