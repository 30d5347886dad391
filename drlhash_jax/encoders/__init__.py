"""Encoders: networks from inputs to K logits; bit k of a code is 1 iff logit k >= 0."""

from drlhash_jax.encoders.inputs import InputSpec, fit_input_spec, prepare_inputs
from drlhash_jax.encoders.pretrained import import_weights
from drlhash_jax.encoders.registry import ENCODERS, Encoder, make_encoder
from drlhash_jax.encoders.settings import EncoderSettings, hashable_options

__all__ = [
    "ENCODERS",
    "Encoder",
    "EncoderSettings",
    "InputSpec",
    "fit_input_spec",
    "hashable_options",
    "import_weights",
    "make_encoder",
    "prepare_inputs",
]
