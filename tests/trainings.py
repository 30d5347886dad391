"""The two stages of the thesis's method on their own, as functions of arrays; shared by the tests."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from drlhash_jax.methods.drlhash import learn_codes, target_codes_phase
from drlhash_jax.target_codes import start
from drlhash_jax.training import Batch, State, encode_codes, encode_logits, place_rows, run_phase

# The same objects for the same settings, so that tests share compiled programs.
encoder_phase = functools.cache(learn_codes)
codes_phase = functools.cache(target_codes_phase)


@functools.cache
def logits_of(encoder):
    """The logits of an encoder as `encode_logits` wants them; the same object for equal encoders."""
    return lambda params, x: encoder.apply({"params": params}, x, train=False)


def logits(encoder, params, inputs, spec, batch_size=None, devices=None):
    """Logits of an encoder."""
    return encode_logits(logits_of(encoder), params, inputs, spec, batch_size, devices)


def codes(encoder, params, inputs, spec, batch_size=None):
    """Codes of an encoder."""
    return encode_codes(logits_of(encoder), params, inputs, spec, batch_size=batch_size)


def fit_encoder(
    key, encoder, inputs, targets, rows, spec, settings, on_epoch=None, pretrained=None, devices=None, **more
):
    """Parameters of an encoder that learnt target codes uint8 [n, K] of some rows."""
    labels = np.zeros(len(inputs), np.int32)
    placed = place_rows(
        inputs,
        labels,
        spec,
        pretrained=pretrained,
        devices=devices,
        resident_bytes=settings.resident_mib * 2**20,
    )
    report = lambda epoch, means: on_epoch(epoch, means["loss"]) if on_epoch else None
    phase = encoder_phase(encoder, settings)
    return run_phase(key, phase, placed, rows, before={"codes": targets}, on_epoch=report, **more)["params"]


class TargetCodes(NamedTuple):
    """Codes uint8 [n, K], the loss before each step, and the path that was taken."""

    codes: np.ndarray
    loss: np.ndarray
    path: str


def infer_target_codes(key, labels, num_bits, settings, devices=None, on_epoch=None, **more):
    """Stage 1 as a whole."""
    losses = []

    def report(epoch, means):
        losses.append(means["loss"])
        if on_epoch:
            on_epoch(epoch, means["loss"])

    labels = np.asarray(labels)
    *_, data = start(key, labels, 1, settings)
    rows = place_rows(None, labels, None, devices=devices)
    found = run_phase(key, codes_phase(num_bits, settings), rows, on_epoch=report, **more)
    return TargetCodes(found["codes"], np.array(losses, np.float32), data.path)


def code_batch(inputs, targets, weights):
    """A Batch of rows with target codes [B, K], and the extra that the loss looks the codes up in."""
    numbers = jnp.arange(len(targets), dtype=jnp.int32)
    return Batch(inputs, jnp.zeros((len(targets), 1)), numbers, weights), {"codes": targets}


def code_state(params, optimizer, extra=None):
    """A State at step 0."""
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params), extra)
