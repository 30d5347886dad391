"""Image hashing by a recurrent agent, which emits one bit after the other.

Peng, Zhang and Ye, "Deep Reinforcement Learning for Image Hashing", IEEE Transactions on Multimedia, 2020 (DRLIH).

The encoder gives features h_0 of an image. An agent, a cell of a recurrent network, goes on from them K times, and a
linear unit that all steps share gives the probability of each bit:

    h_t = tanh(W h_(t-1) + W' h_(t-1) + w),    p_t = sigmoid(a . h_t + c).

Bit t is 1 iff p_t >= 1/2. Both ways to a gradient rank the triplets of a batch, of an anchor, a row that shares more
labels with it and one that shares fewer:

- "released" is what the public code does, and is no policy gradient: nothing is drawn. With the mean over triplets

      T = mean max(0, margin + ||p - p+|| - ||p - p-||)

  on probabilities, the loss is (1 - lambda) T + lambda stop(T) mean(-log p of the bits that the threshold gives), with
  lambda = .001. The second term has the shape of REINFORCE, and only makes bits surer.
- "sampled" is one: bits b are drawn from p, a triplet costs max(0, margin + ||b - b+||^2 - ||b - b-||^2), in bits, and
  the gradient of the expected cost is REINFORCE over several draws of the codes of all rows. A row answers for all
  triplets that it is in, in whichever place; the baseline is the mean of its other draws, as in `pgdh`.

What differs from the public code: all triplets of a batch count instead of drawn ones, the doubt about bits is that of
all rows instead of the anchors (all rows are anchors here), and the configured encoder stands for its VGG-19. Like the
code, this leaves out the paper's groups of actions, and feeds the agent its own state where the paper's also sees the
image.

Hyper-parameters: margin 1 and lambda are the public code's; the width of 256 instead of 4096 and the number of draws
are ours.

Measured with "released" on held-out training rows of CIFAR-10 features (`configs/compare_cifar10_features.py`, 32
bits), mAP: Adam at rate .001, .532, with weight decay 3, .508; at .0002, .533, and with margins .5 and 2, .527 and
.481; momentum at .1, .273, and at 1 it does not learn. So neither rate nor decay nor margin is what keeps it behind
other triplet losses. Training losses of .003 to .02 under Adam say that the triplets are ranked: what is missing is
lost between training rows and queries. "sampled" has not been measured.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.pairs import squared_distances
from drlhash_jax.methods.pgdh import draw_bits, leave_one_out, log_probability
from drlhash_jax.methods.triplets import anchor_rows, for_each_anchor, hinges, mean_over_triplets
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, gradient_phase, weighted_mean
from drlhash_jax.types import Array

# Squared distances below it count as it, since a root has no slope at 0.
_LEAST_SQUARE = 1e-6


@dataclasses.dataclass(frozen=True)
class DRLIHSettings(Settings):
    """Settings of DRLIH."""

    gradient: str = setting("released", "as in the public code, or sampled", choices=("released", "sampled"))
    features: int = setting(256, "width of the agent; the public code's is 4096", least=1, most=65_536)
    margin: float = setting(
        1.0, "by which rows of other labels should be farther", least=0.0, most=1e4, search=(0.5, 2.0)
    )
    policy_weight: float = setting(
        0.001, "lambda, weight of the policy's term of gradient=released", least=0.0, most=1.0
    )
    num_draws: int = setting(8, "codes drawn for each row in a step of gradient=sampled", least=2, most=1_000)


class Agent(nn.Module):
    """An encoder, and the agent that goes on from its features; the encoder's layers keep their names.

    Attributes:
      encoder: module from normalised inputs to features ``[B, F]``.
      features: F.
      num_bits: K.
    """

    encoder: nn.Module
    features: int
    num_bits: int

    def setup(self):
        nn.share_scope(self, self.encoder)
        self.head_cell = nn.SimpleCell(self.features)
        self.head_bit = nn.Dense(1)

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Logits float32 ``[B, K]``, whose sigmoid is the probability of each bit."""

        def step(agent: nn.Module, hidden: Array, _: None) -> tuple[Array, Array]:
            hidden, _ = agent.head_cell(hidden, hidden)
            return hidden, agent.head_bit(hidden)[:, 0]

        steps = nn.scan(
            step, variable_broadcast="params", split_rngs={"params": False}, length=self.num_bits, out_axes=1
        )
        _, logits = steps(self, self.encoder(x, train=train), None)
        return logits


def released_loss(logits: Array, batch: Batch, settings: DRLIHSettings, axis_name: str | None) -> Array:
    """This device's share of the public code's loss, for logits float32 ``[B, K]``."""
    p = jax.nn.sigmoid(logits)
    anchors = anchor_rows(p - 0.5, batch, axis_name)
    distances = jnp.sqrt(jnp.maximum(squared_distances(p - 0.5, anchors.outputs), _LEAST_SQUARE))
    triplets = mean_over_triplets(distances, anchors, settings.margin, axis_name)
    # -log p of the bits that the threshold gives.
    doubt = weighted_mean(jnp.mean(jax.nn.softplus(-jnp.abs(logits)), axis=1), batch.weights, axis_name)
    level = parallel.total(jax.lax.stop_gradient(triplets), axis_name)
    return (1.0 - settings.policy_weight) * triplets + settings.policy_weight * level * doubt


def sampled_loss(logits: Array, bits: Array, batch: Batch, margin: float, axis_name: str | None) -> Array:
    """This device's share of the mean hinge over triplets of drawn bits, with the gradient of REINFORCE.

    Args:
      logits: float32 ``[B, K]``.
      bits: float32 ``[B, T, K]`` of {0, 1}, drawn.
      batch: Batch of the rows.
      margin: in bits.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      float32 scalar.
    """
    anchors = anchor_rows(bits, batch, axis_name)
    distances = jax.vmap(squared_distances, (1, 1), 1)(bits, anchors.outputs)

    def costs(distances: Array, shared: Array, weights: Array) -> tuple[Array, Array, Array]:
        of_draw = lambda each: hinges(each, shared, weights, margin)
        values, counted = jax.vmap(of_draw, out_axes=(0, None))(distances)
        as_near, as_far = jnp.sum(values, axis=2), jnp.sum(values, axis=1)
        return jnp.sum(as_near, axis=1), as_near + as_far, jnp.sum(counted)

    own, of_others, counts = for_each_anchor(costs, distances, anchors.shared, anchors.weights)
    count = jnp.maximum(parallel.total(jnp.sum(counts), axis_name), 1.0)
    # Of what this device's triplets cost, every row has its part: as anchor, as the near row, as the far one.
    part = jnp.sum(of_others, axis=0).T
    log_p = log_probability(logits, bits)
    surrogate = jnp.sum(jnp.mean(leave_one_out(own) * log_p, axis=1))
    surrogate += jnp.sum(jnp.mean(leave_one_out(part) * parallel.gather_rows(log_p, axis_name), axis=1))
    surrogate /= count
    # Worth nothing, but for its gradient.
    return jnp.sum(jnp.mean(own, axis=1)) / count + surrogate - jax.lax.stop_gradient(surrogate)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """DRLIH (Peng et al., IEEE TMM 2020) for codes of one length."""
    settings = given.settings
    encoder = given.encoder.clone(num_outputs=settings.features)
    network = Agent(encoder, settings.features, given.num_bits)

    def loss(logits: Array, batch: Batch, extra: None, axis_name: str | None) -> Array:
        if settings.gradient == "released":
            return released_loss(logits, batch, settings, axis_name)
        return sampled_loss(logits, draw_bits(logits, batch, settings.num_draws), batch, settings.margin, axis_name)

    return Method((gradient_phase(network, given.training, loss),), encoder_logits(network))
