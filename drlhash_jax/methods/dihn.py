"""DIHN: rows that come to a database get codes beside those that exist, which stay bit for bit as they are.

Dayan Wu, Qi Dai, Jing Liu, Bo Li and Weiping Wang, "Deep Incremental Hashing Network for Efficient Image Retrieval",
CVPR 2019. With codes b_j of the n old rows, which are frozen, and of the n' new ones, which are learnt; u_i = tanh of
the logits of the rows i in Omega, a sample of both:

    min over u, new b of  sum_(i in Omega) sum_(j old and new) (u_i . b_j - K S_ij)^2
                          + lambda sum_(i in Omega) ||b_i - u_i||^2 + mu ||sum_(i in Omega) u_i||^2,

S = s (1 + r) - r, with s_ij 1 where rows share a label, 0 elsewhere, and r the similar over the dissimilar pairs. A
round samples rows, takes some epochs of gradient steps over batches of them (divided by their number of rows and by n +
n'), and then updates the new codes bit by bit (discrete cyclic coordinate descent), which cannot raise the objective.
It is ADSH with frozen codes and a balance of bits, and is built from its parts: see `adsh.py`. Codes come from any
method, through `FrozenCodes` of the training rows; without them everything is new, and the database is learnt as a
whole.

What differs from the authors' implementation, where it departs from the paper: the code of a sampled row is looked up
by its number among all rows, not in the sample; the balance is the square of each bit's sum over the rows of a batch,
not the sum of a row's bits, which pushes all outputs down; and rows are old because they have a code, wherever they
stand. It starts from a network of its own, as theirs does. One sweep over the bits is made in each update, as theirs.

Hyper-parameters: lambda = 200, mu = 50, samples of 2,000 rows and 3 epochs a round are those of the authors'
implementation; it takes 50 rounds. On held-out rows of `cifar10_features`, 32 bits and nothing old, 20 epochs by Adam
at 1e-3 with weight decay 3 gave mAP .618, as lambda 2,000 did and as ADSH does; mu 0 and 500 gave .612.

Of the same 5,000 labelled rows, those of seven classes coded first and those of three later, 32 bits, mean of three
seeds: mAP .798 for all queries and .850 for those of new classes, where training again on all rows gave .805 and .858,
and the network of the seven classes, which also codes the new rows, .565 and .267. With 6 epochs in place of 20 it was
.766 and .776.
"""

import dataclasses
import functools

import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.methods.adsh import Asymmetric, asymmetric_phase
from drlhash_jax.methods.base import Ingredients, Method, encoder_logits
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class DIHNSettings(Settings):
    """Settings of DIHN."""

    gamma: float = setting(
        200.0, "lambda, weight of the distance of a row's code from its output", least=0.0, most=1e9, search=(2000.0,)
    )
    balance_weight: float = setting(
        50.0, "mu, weight of the square of each bit's sum over a batch", least=0.0, most=1e9, search=(0.0, 500.0)
    )
    num_samples: int = setting(2_000, "rows sampled for the encoder in each round", least=1, most=10_000_000)
    epochs_per_round: int = setting(3, "epochs between two updates of the codes", least=1, most=1_000)


def unbalance(u: Array, batch: Batch, axis_name: str | None) -> Array:
    """This device's share of ||sum_i u_i||^2 / (number of rows), over the rows of a batch.

    Args:
      u: float32 ``[B, K]``.
      batch: Batch of these rows.
      axis_name: axis of the devices that share the batch; None for one.

    Returns:
      float32 scalar.
    """
    counted = u * batch.weights[:, None]
    everyone = parallel.gather_rows(counted, axis_name)
    num_rows = parallel.total(jnp.sum(batch.weights), axis_name)
    return jnp.sum(counted @ jnp.sum(everyone, axis=0)) / jnp.maximum(num_rows, 1.0)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """DIHN (Wu et al., CVPR 2019) for codes of one length."""

    def penalty(u: Array, batch: Batch, kept: Asymmetric, axis_name: str | None) -> Array:
        return given.settings.balance_weight * unbalance(u, batch, axis_name) / jnp.sum(kept.inside)

    return Method((asymmetric_phase(given, penalty),), encoder_logits(given.encoder))
