"""The thesis's method: target codes from labels, then an encoder that learns them bit by bit.

Rows with one label get target codes by the thesis's loss, and in the `thesis_*` configurations all rows do. Where label
sets overlap, codes that minimise that loss miss retrieval, and the default is a likelihood of pairs, see
`target_codes.loss`; `target_codes/inference.py` has what was measured. An encoder learns such codes no less well: mAP
of `configs/coco_mini_features.py` at 32 bits, three seeds, is .716 against .648 with the similarity loss and .594 with
CSQ.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods.base import Ingredients, Method, encoder_logits, keep_codes
from drlhash_jax.target_codes import TargetCodeSettings, codes_of, gradient_step, start
from drlhash_jax.training import Batch, Phase, Start, State, binary_cross_entropy, gradient_phase
from drlhash_jax.types import Array


def target_codes_phase(num_bits: int, settings: TargetCodeSettings) -> Phase:
    """Stage 1 (thesis Alg. 1): hands on "codes" uint8 ``[n, K]``, zeros for rows that are not trained on."""

    def init(key: Array, begin: Start) -> State:
        labels = begin.labels[begin.subset]
        v, opt_state, data = start(key, labels, num_bits, settings, begin.num_shards)
        extra = {"data": data, "subset": begin.subset, "num_rows": np.int32(len(begin.labels))}
        return State(jnp.zeros((), jnp.int32), v, opt_state, extra)

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        data = state.extra["data"]
        v, opt_state, loss = gradient_step(key, state.params, state.opt_state, state.step, data, settings, axis_name)
        return state.replace(params=v, opt_state=opt_state), {"loss": loss}

    def finish(state: State) -> dict[str, Any]:
        subset = np.asarray(state.extra["subset"])
        codes = np.zeros((int(state.extra["num_rows"]), num_bits), np.uint8)
        codes[subset] = codes_of(state.params, state.extra["data"])
        return {"codes": codes}

    return Phase("target_codes", settings.num_epochs, 0, init, step, finish=finish, needs_inputs=False)


def learn_codes(encoder, training) -> Phase:
    """Stage 2 (thesis Alg. 2): an encoder learns the codes that the phase before handed on."""

    def loss(logits: Array, batch: Batch, extra: dict[str, Array], axis_name: str | None) -> Array:
        return binary_cross_entropy(logits, extra["codes"][batch.rows], batch.weights, axis_name)

    return gradient_phase(encoder, training, loss, init_extra=keep_codes)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """The chain of the thesis for codes of one length."""
    phases = target_codes_phase(given.num_bits, given.settings), learn_codes(given.encoder, given.training)
    return Method(phases, encoder_logits(given.encoder), shared_bits=True)
