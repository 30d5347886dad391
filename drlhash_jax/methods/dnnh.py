"""Simultaneous feature learning and hash coding: features are divided into groups, one a bit, and triplets are ranked.

Lai, Pan, Liu and Yan, "Simultaneous Feature Learning and Hash Coding with Deep Neural Networks", CVPR 2015 (DNNH, or
NINH after the network that it uses).

The encoder gives G K features. Each group of G is coded into one unit by weights of its own ("divide and encode"), s is
the sigmoid of it, and a piecewise threshold brings it close to a bit:

    f = 0 for s < 1/2 - epsilon,    s in between,    1 for s > 1/2 + epsilon.

Over triplets of an anchor, a row that is more like it and one that is less like it, the loss is

    mean max(0, margin + ||f - f+||^2 - ||f - f-||^2).

A bit is 1 iff s >= 1/2, the paper's threshold, which is logit >= 0.

What differs from the paper:

- The configured encoder stands for its network, which ends in rectified features; so they are rectified here.
- All triplets of a batch count, instead of one list of triplets made before training.
- The threshold has no gradient outside its band, so a unit that left a narrow one would stay there. The default width
  leaves the sigmoid as it is; epsilon makes the band as narrow as one likes.

Hyper-parameters: margin 1 and groups of 50 are the paper's, epsilon = 1/2 is ours (the paper says that it is small).

Why it is behind the pairwise methods on CIFAR-10 features, which its paper's order does not say: under margin 1 the
training loss falls to .001, nearly all triplets are ranked and teach no more. Larger margins mend most of it. On
held-out training rows (`configs/compare_cifar10_features.py`, 32 bits), mAP was .567 with Adam at .001 and weight decay
3, .562 with momentum at .1, and .300 with momentum at 1; with the first and margins .5, 1, 4 and 8 it was .529, .567,
.594 and .597.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.pairs import squared_distances
from drlhash_jax.methods.triplets import anchor_rows, mean_over_triplets
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, gradient_phase
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class DNNHSettings(Settings):
    """Settings of DNNH."""

    margin: float = setting(
        1.0, "bits by which less similar rows should be farther", least=0.0, most=1e4, search=(0.5, 4.0, 8.0)
    )
    epsilon: float = setting(0.5, "half the width of what the threshold leaves as it is", least=1e-3, most=0.5)
    group_size: int = setting(50, "features that are coded into one bit", least=1, most=1_000)


class GroupedUnits(nn.Module):
    """One linear unit over each group of features.

    Attributes:
      num_units: K.
    """

    num_units: int

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Units float32 ``[B, K]`` of features float32 ``[B, K G]``, the first group first."""
        groups = features.reshape(features.shape[0], self.num_units, -1)
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=1, out_axis=0)
        kernel = self.param("kernel", init, groups.shape[1:])
        bias = self.param("bias", nn.initializers.zeros, (self.num_units,))
        return jnp.einsum("bkg,kg->bk", groups, kernel) + bias[None]


class DivideAndEncode(nn.Module):
    """An encoder under the divide-and-encode layer; the encoder's layers keep their names.

    Attributes:
      encoder: module from normalised inputs to ``[B, G K]``.
      num_bits: K.
    """

    encoder: nn.Module
    num_bits: int

    def setup(self):
        nn.share_scope(self, self.encoder)
        self.head_groups = GroupedUnits(self.num_bits)

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Logits float32 ``[B, K]``, whose sigmoid is s."""
        return self.head_groups(nn.relu(self.encoder(x, train=train)))


def piecewise_threshold(s: Array, epsilon: float) -> Array:
    """0 below 1/2 - epsilon, 1 above 1/2 + epsilon, s in between; elementwise, with no gradient outside."""
    return jnp.where(jnp.abs(s - 0.5) <= epsilon, s, (s > 0.5).astype(s.dtype))


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """DNNH (Lai et al., CVPR 2015) for codes of one length."""
    settings = given.settings
    encoder = given.encoder.clone(num_outputs=settings.group_size * given.num_bits)
    network = DivideAndEncode(encoder, given.num_bits)

    def loss(logits: Array, batch: Batch, extra: None, axis_name: str | None) -> Array:
        # Distances do not see a shift, and half of it keeps the squares that cancel small.
        f = piecewise_threshold(jax.nn.sigmoid(logits), settings.epsilon) - 0.5
        anchors = anchor_rows(f, batch, axis_name)
        return mean_over_triplets(squared_distances(f, anchors.outputs), anchors, settings.margin, axis_name)

    return Method((gradient_phase(network, given.training, loss),), encoder_logits(network))
