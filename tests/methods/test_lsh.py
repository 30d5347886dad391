"""LSH: signs of projections, and an angle between codes that is that between rows."""

import jax
import numpy as np

from drlhash_jax.encoders import InputSpec, make_encoder
from drlhash_jax.methods import METHODS, Ingredients
from drlhash_jax.settings import Settings
from drlhash_jax.training import TrainingSettings, encode_codes, fit, place_rows


def method(num_bits):
    return METHODS["lsh"].make(Ingredients(num_bits, make_encoder("mlp", num_bits), TrainingSettings(), Settings()))


def identity(width):
    return InputSpec(np.zeros(width, np.float32), np.ones(width, np.float32), "features")


def test_bits_are_signs_of_centred_projections():
    rng = np.random.default_rng(0)
    inputs = rng.normal(3.0, 1.0, (1500, 6)).astype(np.float32)
    rows = place_rows(inputs, np.zeros(1500, np.int32), identity(6))
    params = fit(method(8).phases, rows, lambda name: jax.random.key(5))["params"]
    np.testing.assert_allclose(params["mean"], inputs.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(params["projection"], jax.random.normal(jax.random.key(5), (6, 8)))
    codes = encode_codes(method(8).logits, params, inputs, identity(6))
    np.testing.assert_array_equal(codes, (inputs - inputs.mean(axis=0)) @ np.asarray(params["projection"]) >= 0)
    # Rows that are left out do not move the centre.
    part = fit(method(8).phases, rows, lambda name: jax.random.key(5), np.arange(10))["params"]
    np.testing.assert_allclose(part["mean"], inputs[:10].mean(axis=0), rtol=1e-5)


def test_distance_of_codes_is_the_angle():
    # Two opposite pairs keep the mean at 0; the angle between the first two rows is 60 degrees: a third of the bits.
    a, b = np.array([1.0, 0.0, 0.0]), np.array([0.5, 3**0.5 / 2, 0.0])
    inputs = np.stack([a, b, -a, -b]).astype(np.float32)
    rows = place_rows(inputs, np.zeros(4, np.int32), identity(3))
    params = fit(method(4096).phases, rows, lambda name: jax.random.key(0))["params"]
    codes = encode_codes(method(4096).logits, params, inputs, identity(3))
    # 4,096 coins of 1/3: standard deviation .0074.
    assert abs((codes[0] != codes[1]).mean() - 1 / 3) < 0.03
    assert (codes[0] != codes[2]).all()


def test_images_are_flattened():
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 1)).astype(np.uint8)
    spec = InputSpec(np.full(1, 127.5, np.float32), np.full(1, 127.5, np.float32), "images")
    rows = place_rows(images, np.zeros(20, np.int32), spec)
    params = fit(method(8).phases, rows, lambda name: jax.random.key(0))["params"]
    assert params["projection"].shape == (20, 8)
    assert encode_codes(method(8).logits, params, images, spec).shape == (20, 8)
