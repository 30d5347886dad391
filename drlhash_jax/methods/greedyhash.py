"""GreedyHash: a class layer reads the code itself, and gradients pass through the sign as if it were not there.

Su, Zhang, Han and Tian, "Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN", NeurIPS 2018:

    min  CE(W b, y) + a mean ||u| - 1|^3,   b = sign(u) forwards, dL/du = dL/db backwards

for logits u float32 ``[B, K]`` and a linear layer W from codes to classes. The second term (in the paper
||u - sign u||_3^3) keeps u near its code, so that passing the gradient on is not far wrong.

What differs from the paper: sign(0) is 1, so that no code has a third value. A row of several labels wants each of them
with equal probability (`class_cross_entropy`), where public implementations take binary cross-entropy; rows of one
label have the paper's softmax. Sources of the numbers: a = 0.1 is that of public implementations, in which the second
term is a mean over bits too and W has no bias. They train with SGD at learning rate 1e-3 from published weights.

Momentum at learning rate 1.0, as other losses have it on `cifar10_features`, gives an infinite loss after three
steps, probably by the cube of large logits. Adam at 1e-3 gives mAP .596 at 32 bits (one seed).
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from drlhash_jax.methods.base import Ingredients, Method, encoder_logits, signs
from drlhash_jax.methods.classes import class_cross_entropy, for_classes
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, gradient_phase, weighted_mean
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class GreedyHashSettings(Settings):
    """Settings of GreedyHash."""

    quantisation_weight: float = setting(0.1, "weight of ||u| - 1|^3", least=0.0, most=1e6, search=(1e-2, 1.0))


@jax.custom_jvp
def code_of(u: Array) -> Array:
    """Sign of logits, 1 for 0: float32 of the same shape; its derivative is taken to be 1."""
    return signs(u)


code_of.defjvp(lambda primals, tangents: (code_of(*primals), tangents[0]))


class CodeClassifier(nn.Module):
    """A linear layer on the code of an encoder, beside whose layers it stands.

    Attributes:
      encoder: module from inputs to logits ``[B, K]``.
      num_classes: C.
    """

    encoder: nn.Module
    num_classes: int

    def setup(self):
        nn.share_scope(self, self.encoder)
        self.head_classes = nn.Dense(self.num_classes, use_bias=False)

    def __call__(self, x: Array, *, train: bool = False) -> tuple[Array, Array]:
        """Logits float32 ``[B, K]`` and scores of the classes float32 ``[B, C]`` of inputs ``[B, ...]``."""
        u = self.encoder(x, train=train)
        return u, self.head_classes(code_of(u))


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """GreedyHash for codes of one length; the class layer is handed on with the encoder, and codes do without it."""

    def loss(outputs: tuple[Array, Array], batch: Batch, extra: None, axis_name: str | None) -> Array:
        u, scores = outputs
        classes = class_cross_entropy(scores, batch.labels, batch.weights, axis_name)
        distance = jnp.mean(jnp.abs(jnp.abs(u) - 1.0) ** 3, axis=1)
        return classes + given.settings.quantisation_weight * weighted_mean(distance, batch.weights, axis_name)

    @functools.cache
    def phase_of(num_classes: int) -> Phase:
        return gradient_phase(CodeClassifier(given.encoder, num_classes), given.training, loss)

    return Method((for_classes(phase_of),), encoder_logits(given.encoder))
