"""HashNet: a weighted likelihood of pairs, with a tanh that becomes steeper as training goes on.

Zhangjie Cao, Mingsheng Long, Jianmin Wang and Philip S. Yu, "HashNet: Deep Learning to Hash by Continuation", ICCV
2017.

With z = tanh(beta u) of logits u, theta_ij = (scale / K) z_i . z_j, s_ij = 1 where rows i and j share a label and 0
elsewhere, over the pairs of a batch:

    L = sum_ij w_ij [log(1 + e^theta_ij) - s_ij theta_ij] / |S|,
    w_ij = |S| / |S_1| where s_ij = 1, and |S| / |S_0| where s_ij = 0,

with |S| pairs, |S_1| of them similar and |S_0| not. The sum is the mean over similar pairs plus the mean over others; a
kind that the batch lacks adds nothing. After t steps

    beta = (1 + beta_rate t_0)^beta_power,  t_0 = t rounded down to a multiple of beta_interval,

so that z tends to the code. The code is the sign of u, whatever beta is.

What differs: the authors' implementation draws two batches and pairs the rows of one with those of the other; here all
pairs of one batch count, but for a row with itself. It weighs similar pairs by a constant; here the two kinds are
counted in each batch. The paper multiplies the weight of a similar pair by the share of its labels that both rows have,
intersection over union; the implementation does not, nor does this.

Hyper-parameters: the schedule of beta, with rate .005, power 1/2 and interval 200, is that of the authors'
implementation, which trains for 10,000 steps and ends at beta = 7.1; fewer steps end at a smaller beta. "scale" 7 is
ours; theirs is 10. It was chosen on 1,000 held-out training rows of `cifar10_features` with 16 and 32 bits, together
with Adam at 1e-3 for all layers and weight decay 3 (cosine, 20 epochs of batches of 128), which suit this loss. What
was learnt on these rows: momentum at .1 and more, and Adam at 3e-3, hardly train, and momentum at .01 or .03 stays
three points or more below; scales of 3 and less are worse, and scale 10 by half a point; without weight decay scale 5
was best, one to two points below. The growth of beta makes no clear difference at such a budget: mAP was .654, .653 and
.648 with rates 0, .005 and .05.
"""

import dataclasses
import functools

import jax.numpy as jnp

from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.methods.pairs import mean_over_pairs, negative_log_likelihood, pair_rows
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, gradient_phase
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class HashNetSettings(Settings):
    """Settings of HashNet."""

    scale: float = setting(7.0, "theta of two rows with equal codes", least=1e-6, most=1e6, search=(4.0, 10.0))
    beta_rate: float = setting(0.005, "growth per step of beta^(1 / beta_power); 0 keeps beta 1", least=0.0, most=1e6)
    beta_power: float = setting(0.5, "power of 1 + beta_rate x steps that beta is", least=0.0, most=10.0)
    beta_interval: int = setting(200, "steps between two changes of beta", least=1, most=1_000_000)


def steepness(steps: Array, settings: HashNetSettings) -> Array:
    """beta, float32 scalar, after a number of steps, int32 scalar."""
    changed = steps - steps % settings.beta_interval
    return (1.0 + settings.beta_rate * changed.astype(jnp.float32)) ** settings.beta_power


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """HashNet (Cao et al., ICCV 2017) for codes of one length; what it remembers is the number of steps done."""
    settings = given.settings

    def loss(logits: Array, batch: Batch, steps: Array, axis_name: str | None) -> Array:
        z = jnp.tanh(steepness(steps, settings) * logits)
        others, similar, weights = pair_rows(z, batch, axis_name)
        values = negative_log_likelihood(settings.scale / given.num_bits * z @ others.T, similar)
        kinds = similar * weights, (1.0 - similar) * weights
        return sum(mean_over_pairs(values, kind, axis_name) for kind in kinds)

    phase = gradient_phase(
        given.encoder,
        given.training,
        loss,
        init_extra=lambda key, begin: jnp.zeros((), jnp.int32),
        update_extra=lambda steps, logits, batch, axis_name: steps + 1,
    )
    return Method((phase,), encoder_logits(given.encoder))
