"""VGG-19 in the layout of torchvision, without and with batch normalisation, with K outputs."""

from typing import ClassVar

import chex
import flax.linen as nn

from drlhash_jax.encoders.frozen_norm import FrozenBatchNorm
from drlhash_jax.encoders.initializers import flat_lecun_normal
from drlhash_jax.encoders.pooling import max_pool
from drlhash_jax.types import Array

# Width and number of the 3x3 convolutions before each halving of the resolution (configuration E of the paper).
STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


class VGG19(nn.Module):
    """VGG-19 (Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014).

    Attributes:
      num_outputs: K, the code length (1,000 in the ImageNet original: 143,667,240 parameters).
      dropout_rate: after each of the two hidden dense layers.
      compute_dtype: of activations; parameters and logits are float32.
    """

    num_outputs: int
    dropout_rate: float = 0.5
    compute_dtype: str = "float32"
    batch_norm: ClassVar[bool] = False

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Logits float32 ``[B, num_outputs]`` of normalised images float32 ``[B, 224, 224, 3]``."""
        chex.assert_shape(images, (None, 224, 224, 3))
        dtype = self.compute_dtype
        x = images
        for stage, (width, num_layers) in enumerate(STAGES, 1):
            for layer in range(1, num_layers + 1):
                name = f"conv{stage}_{layer}"
                x = nn.Conv(width, (3, 3), padding=1, kernel_init=flat_lecun_normal, dtype=dtype, name=name)(x)
                if self.batch_norm:
                    x = FrozenBatchNorm(1e-5, dtype, name=f"norm{stage}_{layer}")(x)
                x = nn.relu(x)
            x = max_pool(x, window=2, stride=2)
        # Channels first before flattening, the order in which published weights store the first dense layer.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        for name in ("dense1", "dense2"):
            x = nn.relu(nn.Dense(4096, dtype=dtype, name=name)(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        head = nn.Dense(self.num_outputs, kernel_init=nn.initializers.normal(0.01), dtype=dtype, name="head")
        return head(x).astype("float32")


class VGG19BN(VGG19):
    """VGG-19, batch normalisation after each convolution (1,000 outputs: 143,678,248 trained parameters)."""

    batch_norm: ClassVar[bool] = True
