"""A multi-layer perceptron over embeddings: the encoder for features from another network."""

import flax.linen as nn

from drlhash_jax.types import Array


class MLP(nn.Module):
    """Dense layers with ReLU and dropout under a linear head.

    Attributes:
      num_outputs: K, the code length.
      hidden: widths of the hidden layers.
      dropout_rate: after each hidden layer.
      compute_dtype: of activations; parameters and logits are float32.
    """

    num_outputs: int
    hidden: tuple[int, ...] = (512,)
    dropout_rate: float = 0.0
    compute_dtype: str = "float32"

    @nn.compact
    def __call__(self, features: Array, *, train: bool = False) -> Array:
        """Logits float32 ``[B, num_outputs]`` of features float32 ``[B, D]``."""
        dtype = self.compute_dtype
        x = features
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, dtype=dtype, name=f"dense{layer}")(x))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_outputs, dtype=dtype, name="head")(x).astype("float32")
