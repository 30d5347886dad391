"""Policy and value networks over the selection mask (thesis Eq. 3.15), and the masked categorical policy."""

from typing import NamedTuple

import distrax
import flax.linen as nn
import jax.numpy as jnp

from drlhash_jax.types import Array


class PolicyValue(NamedTuple):
    """Outputs for one state.

    Attributes:
      logits: float32 ``[k]`` of each bit, unmasked.
      value: float32 scalar.
    """

    logits: Array
    value: Array


class ActorCritic(nn.Module):
    """Two separate multi-layer perceptrons from the mask to a policy and to a value.

    Orthogonal initialisation with gain sqrt(2) and zero biases as in the bit-selection method that the thesis builds
    on; the policy's last layer starts near zero, so the first policy is uniform.

    Attributes:
      pool_bits: k.
      hidden: widths of the hidden layers.
    """

    pool_bits: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, selected: Array) -> PolicyValue:
        """PolicyValue for a mask bool ``[..., k]``."""
        dense = lambda width, gain, name: nn.Dense(width, kernel_init=nn.initializers.orthogonal(gain), name=name)
        observation = 2.0 * selected.astype(jnp.float32) - 1.0
        heads = []
        for head, width, gain in (("policy", self.pool_bits, 0.01), ("value", 1, 1.0)):
            x = observation
            for layer, size in enumerate(self.hidden):
                x = nn.relu(dense(size, 2**0.5, f"{head}{layer}")(x))
            heads.append(dense(width, gain, head)(x))
        return PolicyValue(heads[0], heads[1][..., 0])


def masked_policy(logits: Array, mask: Array) -> distrax.Categorical:
    """Categorical over the legal actions only.

    Args:
      logits: float32 ``[..., k]``.
      mask: bool ``[..., k]``, legal actions.

    Returns:
      A distribution that gives illegal actions probability 0. Where nothing is legal it is uniform, finite everywhere,
      and its sample is ignored by the environment.
    """
    # The most negative float, not -inf: where every action is masked, -inf makes the entropy NaN.
    return distrax.Categorical(logits=jnp.where(mask, logits, jnp.finfo(logits.dtype).min))
