"""Encoders: layer shapes, one name for the last layer, evaluation without randomness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import ENCODERS, make_encoder


def shapes_of(encoder, input_shape):
    """Parameter shapes by path, and the shape of the logits, without computing anything."""
    x = jax.ShapeDtypeStruct(input_shape, jnp.float32)
    params = jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x)["params"], x)
    logits = jax.eval_shape(lambda params, x: encoder.apply({"params": params}, x), params, x)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(part.key for part in path): leaf.shape for path, leaf in leaves}, logits


def count(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


def test_alexnet_layers():
    shapes, logits = shapes_of(make_encoder("alexnet", 1000), (2, 224, 224, 3))
    # torchvision.models.alexnet: (out, in, height, width) there, (height, width, in, out) here.
    kernels = {
        "conv1": (11, 11, 3, 64),
        "conv2": (5, 5, 64, 192),
        "conv3": (3, 3, 192, 384),
        "conv4": (3, 3, 384, 256),
        "conv5": (3, 3, 256, 256),
        "dense1": (6 * 6 * 256, 4096),
        "dense2": (4096, 4096),
        "head": (4096, 1000),
    }
    expected = {f"{name}/kernel": shape for name, shape in kernels.items()}
    expected |= {f"{name}/bias": shape[-1:] for name, shape in kernels.items()}
    assert shapes == expected
    assert count(shapes) == 61_100_840
    assert logits.shape == (2, 1000)


def test_alexnet_of_48_bits():
    shapes, logits = shapes_of(make_encoder("alexnet", 48), (3, 224, 224, 3))
    assert logits.shape == (3, 48) and logits.dtype == jnp.float32
    # The head alone shrinks: 952 outputs of 4,096 weights and a bias less.
    assert count(shapes) == 61_100_840 - 952 * 4097


def test_alexnet_flattens_channels_first():
    encoder = make_encoder("alexnet", 1)
    image = np.zeros((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), image)["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    # Every pixel of the last feature map [6, 6, 256] holds its channel's number. Published weights store the first
    # dense layer for [256, 6, 6]: its input 5 * 36 + 7 belongs to channel 5 (and not 187).
    params["conv5"]["bias"] += np.arange(256, dtype=np.float32)
    for layer, row in (("dense1", 5 * 36 + 7), ("dense2", 0), ("head", 0)):
        params[layer]["kernel"][row, 0] = 1.0
    assert encoder.apply({"params": params}, image).tolist() == [[5.0]]


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_compact_shapes(size, channels):
    shapes, logits = shapes_of(make_encoder("compact", 24), (5, size, size, channels))
    assert logits.shape == (5, 24) and logits.dtype == jnp.float32
    # 3x3 kernels without bias: c*32, 32*32, 32*64, 64*64, 64*128, 128*128; a scale and a shift for each channel;
    # a head of 128 * 24 + 24. No size depends on the image's.
    convolutions = 9 * (channels * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    assert count(shapes) == convolutions + 2 * 2 * (32 + 64 + 128) + 128 * 24 + 24


def test_mlp_shapes():
    shapes, logits = shapes_of(make_encoder("mlp", 48, hidden=(32, 16)), (7, 10))
    assert logits.shape == (7, 48)
    assert shapes == {
        "dense0/kernel": (10, 32),
        "dense0/bias": (32,),
        "dense1/kernel": (32, 16),
        "dense1/bias": (16,),
        "head/kernel": (16, 48),
        "head/bias": (48,),
    }
    shapes, _ = shapes_of(make_encoder("mlp", 4, hidden=()), (7, 10))
    assert shapes == {"head/kernel": (10, 4), "head/bias": (4,)}


@pytest.mark.parametrize("name", ENCODERS)
def test_last_layer_is_the_head(name):
    shape = {"features": (1, 10), "images": (1, 224, 224, 3)}[ENCODERS[name].reads]
    shapes, _ = shapes_of(make_encoder(name, 13), shape)
    assert {path: s for path, s in shapes.items() if s[-1] == 13}.keys() == {"head/kernel", "head/bias"}


def test_mlp_against_loops():
    encoder = make_encoder("mlp", 3, hidden=(5, 4))
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    params = encoder.init(jax.random.key(0), x)["params"]
    logits = encoder.apply({"params": params}, x)
    for row in range(6):
        hidden = x[row].astype(np.float64)
        for name in ("dense0", "dense1"):
            hidden = np.maximum(hidden @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
        expected = hidden @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])
        np.testing.assert_allclose(logits[row], expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_off_at_evaluation():
    encoder = make_encoder("mlp", 4, hidden=(64,), dropout_rate=0.5)
    x = jax.random.normal(jax.random.key(0), (3, 8))
    params = encoder.init(jax.random.key(1), x)["params"]
    first, again = (encoder.apply({"params": params}, x) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    # The same without dropout at all.
    plain = make_encoder("mlp", 4, hidden=(64,)).apply({"params": params}, x)
    np.testing.assert_array_equal(first, plain)
    draws = [encoder.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(k)}) for k in (2, 2, 3)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any() and (draws[0] != first).any()


def test_compact_image_does_not_depend_on_its_batch():
    encoder = make_encoder("compact", 6, width=8, dropout_rate=0.5)
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
    apply = jax.jit(encoder.apply)
    first = apply({"params": params}, x)
    np.testing.assert_array_equal(first, apply({"params": params}, x))
    changed = apply({"params": params}, x.at[1:].set(5.0))
    np.testing.assert_allclose(changed[0], first[0], rtol=1e-5, atol=1e-6)
    assert np.ptp(np.asarray(first), axis=0).max() > 0


def test_options_reach_the_module():
    assert make_encoder("compact", 6, width=16).width == 16
    with pytest.raises(TypeError):
        make_encoder("mlp", 6, width=16)
