"""AlexNet in the layout of torchvision, the network of thesis 3.3.1, with K outputs."""

import chex
import flax.linen as nn

from drlhash_jax.encoders.initializers import flat_lecun_normal
from drlhash_jax.encoders.pooling import max_pool
from drlhash_jax.types import Array


class AlexNet(nn.Module):
    """AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014).

    Attributes:
      num_outputs: K, the code length (1,000 in the ImageNet original: 61,100,840 parameters).
      dropout_rate: before each of the two hidden dense layers.
      compute_dtype: of activations; parameters and logits are float32.
    """

    num_outputs: int
    dropout_rate: float = 0.5
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False) -> Array:
        """Logits of each bit.

        Args:
          images: float32 ``[B, 224, 224, 3]``, normalised.
          train: whether dropout is active; then apply needs a "dropout" key.

        Returns:
          float32 ``[B, num_outputs]``.
        """
        chex.assert_shape(images, (None, 224, 224, 3))
        conv = lambda name, features, size, stride, pad: nn.Conv(
            features,
            (size, size),
            strides=stride,
            padding=pad,
            kernel_init=flat_lecun_normal,
            dtype=self.compute_dtype,
            name=name,
        )
        pool = lambda x: max_pool(x, window=3, stride=2)
        x = pool(nn.relu(conv("conv1", 64, 11, 4, 2)(images)))
        x = pool(nn.relu(conv("conv2", 192, 5, 1, 2)(x)))
        x = nn.relu(conv("conv3", 384, 3, 1, 1)(x))
        x = nn.relu(conv("conv4", 256, 3, 1, 1)(x))
        x = pool(nn.relu(conv("conv5", 256, 3, 1, 1)(x)))
        # Channels first before flattening, the order in which published weights store the first dense layer.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        for name in ("dense1", "dense2"):
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            x = nn.relu(nn.Dense(4096, dtype=self.compute_dtype, name=name)(x))
        init = nn.initializers.normal(0.01)
        return nn.Dense(self.num_outputs, kernel_init=init, dtype=self.compute_dtype, name="head")(x).astype("float32")
