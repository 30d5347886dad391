"""A small convolutional network for images of 8 to 64 pixels."""

import flax.linen as nn
import jax.numpy as jnp

from drlhash_jax.encoders.initializers import flat_lecun_normal
from drlhash_jax.encoders.pooling import max_pool
from drlhash_jax.types import Array


class Compact(nn.Module):
    """Three stages of two 3x3 convolutions with group normalisation, halving the resolution, then a mean.

    Group instead of batch normalisation keeps the network a pure function of its parameters: a code does not depend
    on the batch that it was computed in.

    Attributes:
      num_outputs: K, the code length.
      width: channels of the first stage; the others have twice and four times as many.
      dropout_rate: before the head.
      compute_dtype: of activations; parameters and logits are float32.
    """

    num_outputs: int
    width: int = 32
    dropout_rate: float = 0.0
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Logits float32 ``[B, num_outputs]`` of images float32 ``[B, H, W, channels]``, H and W at least 4."""
        dtype = self.compute_dtype
        x = images
        for stage in range(3):
            for layer in range(2):
                conv = nn.Conv(
                    self.width << stage,
                    (3, 3),
                    use_bias=False,
                    kernel_init=flat_lecun_normal,
                    dtype=dtype,
                    name=f"conv{stage}_{layer}",
                )
                x = conv(x)
                x = nn.relu(nn.GroupNorm(num_groups=8, dtype=dtype, name=f"norm{stage}_{layer}")(x))
            if stage < 2:
                x = max_pool(x, window=2, stride=2)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_outputs, dtype=dtype, name="head")(x).astype(jnp.float32)
