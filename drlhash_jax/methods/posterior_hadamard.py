"""Signs of projected class posteriors: an honest baseline, not a method from a paper.

Whoever has a classifier has codes for nothing. With the posterior p float32 ``[C]`` of an encoder trained by
cross-entropy alone, and a fixed sign matrix H int8 ``[C, K]``,

    code = sign((p - f) H),     f the labels' frequencies in the training rows

A row that is surely of class c gets the signs of H_c, less the mean row; two rows of one posterior get one code. So a
hashing method that does not beat this has learnt nothing that the classifier did not know. (Sablayrolles, Douze,
Usunier and Jegou, "How should we evaluate supervised hashing?", ICASSP 2017, encode a classifier's answer in the same
spirit.)

The loss is softmax cross-entropy where every row has one label, and the mean of the labels' sigmoid cross-entropies
where labels are multi-hot. f stands for the mean posterior of the training rows: at the minimum of either loss they are
equal, as the last layer has a bias. H is CSQ's centres, rows of a Hadamard matrix in random order where K is a power of
two. There are no settings.

What matters is that the classifier keeps its doubt: a posterior of zeros and ones has one code for each class. On
CIFAR-10 embeddings (C-54, seed 0, 32 bits, 20 epochs, batch 128) momentum .1 ends in a training loss of 1e-4 and mAP
.503, Adam 1e-3 in .01 and .573, Adam 1e-4 in .40 and .611; momentum 1.0, which suits losses over bits, diverges.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts
from drlhash_jax.methods.classes import cross_entropy, for_classes, posterior_of_scores
from drlhash_jax.methods.csq import hash_centres
from drlhash_jax.settings import Settings
from drlhash_jax.training import Phase, Start, State, gradient_phase, multi_hot
from drlhash_jax.types import Array


def misfit(settings: Settings, facts: TrainingFacts) -> str | None:
    """Refuses more classes than there are codes."""
    if facts.num_classes <= 2**facts.num_bits:
        return None
    least = (facts.num_classes - 1).bit_length()
    return f"{facts.num_bits} bits cannot tell {facts.num_classes} classes apart: use at least {least}"


def _signs_phase(num_bits: int) -> Phase:
    """Hands on "signs" H int8 ``[C, K]``, "frequency" f float32 ``[C]``, and "multi_label", a bool scalar."""

    def init(key: Array, begin: Start) -> State:
        labels = np.asarray(multi_hot(begin.labels[begin.subset], begin.num_classes))
        signs = hash_centres(key, begin.num_classes, num_bits)
        projection = {
            "signs": signs,
            "frequency": labels.mean(axis=0),
            "multi_label": np.asarray(begin.labels.ndim == 2),
        }
        return State(jnp.zeros((), jnp.int32), projection)

    return Phase("signs", 0, 0, init, finish=lambda state: state.params, needs_inputs=False)


def project(scores: Array, projection: Mapping[str, Array]) -> Array:
    """(p - f) H, float32 ``[B, K]``, of class scores ``[B, C]``."""
    posterior = posterior_of_scores(scores, projection["multi_label"])
    return (posterior - projection["frequency"][None, :]) @ projection["signs"].astype(jnp.float32)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """The baseline for codes of one length; "params" has the encoder's and the projection."""

    @functools.cache
    def phase_of(num_classes: int) -> Phase:
        encoder, handed_on = given.encoder.clone(num_outputs=num_classes), lambda key, begin: dict(begin.before)
        finish = lambda state: {"params": {"encoder": state.params, "projection": state.extra}}
        return gradient_phase(encoder, given.training, cross_entropy, init_extra=handed_on, finish=finish)

    def logits(params: dict[str, Any], x: Array) -> Array:
        encoder = given.encoder.clone(num_outputs=params["projection"]["signs"].shape[0])
        return project(encoder.apply({"params": params["encoder"]}, x, train=False), params["projection"])

    phases = _signs_phase(given.num_bits), for_classes(phase_of)
    return Method(phases, logits, shared_bits=True)
