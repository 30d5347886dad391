"""Codes of inputs: independent of batching, bit 1 iff the logit is at least 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trainings import codes as encode_codes
from trainings import logits as encode_logits

from drlhash_jax.encoders import fit_input_spec, make_encoder


@pytest.fixture(scope="module")
def case():
    encoder = make_encoder("mlp", 12, hidden=(16,))
    inputs = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    return encoder, encoder.init(jax.random.key(0), jnp.zeros((1, 10)))["params"], inputs, fit_input_spec(inputs)


def test_logits_against_loops(case):
    encoder, params, inputs, spec = case
    logits = encode_logits(encoder, params, inputs, spec, batch_size=20)
    assert logits.shape == (64, 12) and logits.dtype == np.float32
    layers = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    for row in range(0, 64, 9):
        x = (inputs[row].astype(np.float64) - spec.mean) / spec.scale
        hidden = np.maximum(x @ layers["dense0"]["kernel"] + layers["dense0"]["bias"], 0)
        expected = hidden @ layers["head"]["kernel"] + layers["head"]["bias"]
        np.testing.assert_allclose(logits[row], expected, rtol=1e-4, atol=1e-5)


def test_codes_do_not_depend_on_the_batch(case):
    encoder, params, inputs, spec = case
    codes = encode_codes(encoder, params, inputs, spec, batch_size=64)
    assert codes.dtype == np.uint8 and set(np.unique(codes)) == {0, 1}
    # 7 does not divide 64: the last batch is filled up. 100 is more than there is.
    for batch_size in (1, 7, 100):
        np.testing.assert_array_equal(encode_codes(encoder, params, inputs, spec, batch_size=batch_size), codes)
    np.testing.assert_array_equal(encode_codes(encoder, params, inputs[10:13], spec, batch_size=64), codes[10:13])


@pytest.fixture(scope="module")
def image_case():
    encoder = make_encoder("compact", 6, width=8)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    return encoder, params, rng.integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)


def test_image_codes_do_not_depend_on_the_batch(image_case):
    encoder, params, images = image_case
    spec = fit_input_spec(images)
    alone = encode_logits(encoder, params, images, spec, batch_size=1)
    np.testing.assert_allclose(encode_logits(encoder, params, images, spec, batch_size=4), alone, rtol=1e-4, atol=1e-5)


def test_images_are_resized(image_case):
    encoder, params, _ = image_case
    constant = np.full((1, 8, 8, 1), 200, np.uint8)
    wanted = encode_logits(encoder, params, constant, fit_input_spec(constant), batch_size=1)
    # A constant image of another size is the same image.
    other = np.full((2, 4, 6, 1), 200, np.uint8)
    logits = encode_logits(encoder, params, other, fit_input_spec(other, image_size=8), batch_size=1)
    np.testing.assert_allclose(logits, np.concatenate([wanted, wanted]), rtol=1e-4, atol=1e-5)


def test_logit_zero_is_bit_one():
    encoder = make_encoder("mlp", 3, hidden=())
    inputs = np.ones((2, 4), np.float32)
    spec = fit_input_spec(inputs)
    for bias, bits in (([0.0, -0.0, 1e-30], [1, 1, 1]), ([-1e-30, 0.0, -2.0], [0, 1, 0])):
        params = {"head": {"kernel": jnp.zeros((4, 3)), "bias": jnp.array(bias)}}
        assert encode_codes(encoder, params, inputs, spec, 2).tolist() == [bits, bits]


def test_no_inputs_give_no_codes(case):
    encoder, params, inputs, spec = case
    assert encode_codes(encoder, params, inputs[:0], spec, batch_size=20).shape == (0, 12)
