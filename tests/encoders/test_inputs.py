"""The normalisation of inputs against hand-computed numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import ENCODERS, fit_input_spec, prepare_inputs


def prepared(inputs, spec):
    return prepare_inputs(jnp.asarray(inputs), spec)


def test_features_are_centred_and_scaled_by_one_number():
    inputs = np.array([[0.0, 0.0], [2.0, 4.0]])
    spec = fit_input_spec(inputs)
    # Mean (1, 2); deviations 1, 1, 2, 2: root mean square sqrt(10/4).
    assert spec.kind == "features" and spec.image_size is None
    np.testing.assert_allclose(spec.mean, [1.0, 2.0])
    np.testing.assert_allclose(spec.scale, [2.5**0.5] * 2, rtol=1e-6)
    assert spec.mean.dtype == spec.scale.dtype == np.float32
    expected = np.array([[-1.0, -2.0], [1.0, 2.0]]) / 2.5**0.5
    np.testing.assert_allclose(prepared(inputs, spec), expected, rtol=1e-6)
    # New rows are measured with the same numbers.
    np.testing.assert_allclose(prepared(np.array([[11.0, 2.0]]), spec), [[10 / 2.5**0.5, 0.0]], rtol=1e-6)


def test_constant_features_stay_finite():
    inputs = np.full((4, 3), 7.0, np.float32)
    np.testing.assert_array_equal(prepared(inputs, fit_input_spec(inputs)), np.zeros((4, 3)))


def test_colour_images_use_the_statistics_of_imagenet():
    images = np.zeros((2, 1, 1, 3), np.uint8)
    images[1] = 255
    spec = fit_input_spec(images)
    assert spec.kind == "images"
    out = prepared(images, spec)
    # (0 - mean)/std and (1 - mean)/std on a 0..1 scale.
    np.testing.assert_allclose(out[0, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)
    np.testing.assert_allclose(out[1, 0, 0], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_images_go_from_minus_one_to_one(channels):
    images = np.zeros((1, 2, 2, channels), np.uint8)
    images[0, 1] = 255
    out = prepared(images, fit_input_spec(images))
    np.testing.assert_allclose(out[0, 0], np.full((2, channels), -1.0), rtol=1e-6)
    np.testing.assert_allclose(out[0, 1], np.full((2, channels), 1.0), rtol=1e-6)
    assert out.dtype == jnp.float32


def test_image_statistics_do_not_come_from_the_data():
    dark, bright = np.zeros((3, 4, 4, 1), np.uint8), np.full((3, 4, 4, 1), 255, np.uint8)
    np.testing.assert_array_equal(fit_input_spec(dark).mean, fit_input_spec(bright).mean)


def test_resize():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 10, 3)).astype(np.uint8)
    assert prepared(images, fit_input_spec(images)).shape == (2, 6, 10, 3)
    assert prepared(images, fit_input_spec(images, image_size=12)).shape == (2, 12, 12, 3)
    constant = np.full((1, 5, 5, 1), 51, np.uint8)
    # 51/255 = .2, and (.2 - .5)/.5 = -.6.
    np.testing.assert_allclose(
        prepared(constant, fit_input_spec(constant, image_size=8)), np.full((1, 8, 8, 1), -0.6), rtol=1e-5
    )


def test_resize_is_bilinear():
    ramp = np.array([0, 100], np.uint8).reshape(1, 1, 2, 1).repeat(2, axis=1)
    spec = fit_input_spec(ramp, image_size=4)
    stored = np.asarray(prepared(ramp, spec)) * spec.scale + spec.mean
    # Four pixels over two: centres at 1/4, 3/4, 5/4, 7/4, weights 0, 1/4, 3/4, 1 of the right one.
    np.testing.assert_allclose(stored[0, :, :, 0], np.tile([0.0, 25.0, 75.0, 100.0], (4, 1)), atol=1e-3)


def test_right_size_is_left_alone():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1)).astype(np.uint8)
    plain, sized = (prepared(images, fit_input_spec(images, image_size=size)) for size in (None, 8))
    np.testing.assert_array_equal(plain, sized)


def test_efficientnet_has_statistics_of_its_own():
    images = np.array([127, 255, 63], np.uint8).reshape(3, 1, 1, 1).repeat(3, axis=3)
    spec = fit_input_spec(images, statistics=ENCODERS["efficientnet_lite0"].statistics)
    np.testing.assert_array_equal(prepared(images, spec)[:, 0, 0, 0], [0.0, 1.0, -0.5])
    assert spec.mean.shape == spec.scale.shape == (3,) and spec.mean.dtype == np.float32
    plain = fit_input_spec(images, statistics=ENCODERS["vgg19"].statistics)
    np.testing.assert_array_equal(plain.mean, fit_input_spec(images).mean)


def test_the_centre_is_cut_out():
    images = np.arange(2 * 6 * 7, dtype=np.uint8).reshape(2, 6, 7, 1)
    whole = prepared(images, fit_input_spec(images))
    np.testing.assert_array_equal(prepared(images, fit_input_spec(images, crop_size=4)), whole[:, 1:5, 1:5])
    # Resizing comes first.
    resized = prepared(images, fit_input_spec(images, image_size=8))
    spec = fit_input_spec(images, image_size=8, crop_size=3)
    np.testing.assert_array_equal(prepared(images, spec), resized[:, 2:5, 2:5])
