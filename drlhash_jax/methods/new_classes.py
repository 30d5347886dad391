"""Rows of classes that no training row has: one more class of a posterior, and bits that a row of known class silences.

A classifier gives a row of a new class to one of those that it knows, often without doubt, and a code made from its
posterior p finds what that class is mistaken for. With nu the chance that the row is new (`posteriors.novelty`) and a
chance `novel` of that before the row is seen, such codes are made from ((1 - nu) p, nu) instead: "new" is a class of
its own, to which training rows belong in a second guise, with the p and the nu that they would have if their own class
were unknown (of p, the rest after their own class is taken away).

This brings new rows together, of whatever new class. What tells these apart are bits of the features' directions
(ITQ), which disturb where the class is known. So they are *balanced*: of m such bits, the m/2 with the largest
projections are 1. A balanced code is at distance m/2 from m zeros, whichever code it is. So rows of known classes give
zeros, which are as far from one balanced code as from another: they silence that part of the code. Balance costs little
over log2(m) / 2 bits of m.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from drlhash_jax.methods.linear import flat_rows
from drlhash_jax.methods.pca import fit_itq
from drlhash_jax.posteriors import fit_novelty, novelty_log_odds, posterior_of
from drlhash_jax.training import Phase, Start, State
from drlhash_jax.types import Array

# nu from which a row is coded as new. Of held-out classes (64 bits, half of them directions, novel = .1) .1, .3 and .5
# gave mAP .340, .333, .322 and cost .0106, .0083, .0077 on known ones.
_NEW = 0.3


def novelty_phase(novel: float, geometry_bits: int, folds: Callable[[int], np.ndarray]) -> Phase:
    """Hands on "novelty", see `chance_of_new`, "nu_known" and "nu_new" float32 ``[m]``, and perhaps "geometry".

    Args:
      novel: chance that a row is new, before it is seen.
      geometry_bits: m, bits of the features' directions.
      folds: number of rows -> fold of each, int ``[n]``.
    """

    def init(key: Array, begin: Start) -> State:
        rows = flat_rows(begin)
        found = fit_novelty(rows, np.asarray(begin.labels[begin.subset]), folds(len(rows)))
        prior = np.float32(scipy.special.logit(novel))
        chances = {"nu_known": found.known, "nu_new": found.left_out}
        handed_on: dict[str, Any] = {"novelty": found.params | {"prior": prior}}
        handed_on |= {name: scipy.special.expit(odds + prior) for name, odds in chances.items()}
        if geometry_bits:
            handed_on["geometry"] = fit_itq(key, begin, geometry_bits)
        return State(jnp.zeros((), jnp.int32), handed_on)

    return Phase("novelty", 0, 0, init, finish=lambda state: state.params)


def chance_of_new(params: Mapping[str, Array], x: Array) -> Array:
    """nu float32 ``[B]`` of features ``[B, D]``."""
    return jax.nn.sigmoid(novelty_log_odds(params, x) + params["prior"])


def known_and_new(posterior: Array, nu: Array) -> Array:
    """((1 - nu) p, nu) float32 ``[B, C + 1]`` of p ``[B, C]`` and nu ``[B]``."""
    nu = nu[:, None]
    return jnp.concatenate([(1.0 - nu) * posterior, nu], axis=1)


def as_known_and_as_new(logits: np.ndarray, labels: np.ndarray, before: Mapping[str, Array]) -> np.ndarray:
    """Posteriors of the training rows in both guises, float32 ``[2 m, C + 1]``: known ones, then new ones.

    Args:
      logits: held-out class logits ``[m, C]``.
      labels: class numbers int ``[m]``.
      before: with "nu_known" and "nu_new", see `novelty_phase`.
    """
    without = np.where(labels[:, None] == np.arange(logits.shape[1]), -np.inf, logits)
    guises = (logits, before["nu_known"]), (without, before["nu_new"])
    return np.concatenate([np.asarray(known_and_new(posterior_of(each, True), nu)) for each, nu in guises])


def geometry_logits(params: Mapping[str, Array], x: Array, nu: Array, always: bool) -> Array:
    """Logits float32 ``[B, m]`` of the features' directions, as many of them positive as negative; -1 for silence.

    Args:
      params: "mean" ``[D]`` and "projection" ``[D, m]``.
      x: features ``[B, D]``.
      nu: float32 ``[B]``.
      always: whether rows of known classes speak too.
    """
    projected = (x - params["mean"][None]) @ params["projection"]
    balanced = projected - jnp.median(projected, axis=1, keepdims=True)
    return balanced if always else jnp.where(nu[:, None] >= _NEW, balanced, -1.0)
