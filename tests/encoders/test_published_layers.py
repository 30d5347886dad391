"""Layer tables of the published networks: what each layer gives, what it holds, and what a file calls it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import ENCODERS, make_encoder
from drlhash_jax.encoders.pretrained import published_names

# Shape of each layer's result for one image of 224 pixels, channels last.
ALEXNET = {
    "conv1": (55, 55, 64),
    "conv2": (27, 27, 192),
    "conv3": (13, 13, 384),
    "conv4": (13, 13, 256),
    "conv5": (13, 13, 256),
    "dense1": (4096,),
    "dense2": (4096,),
    "head": (1000,),
}
VGG19 = {
    **{f"conv1_{i}": (224, 224, 64) for i in (1, 2)},
    **{f"conv2_{i}": (112, 112, 128) for i in (1, 2)},
    **{f"conv3_{i}": (56, 56, 256) for i in (1, 2, 3, 4)},
    **{f"conv4_{i}": (28, 28, 512) for i in (1, 2, 3, 4)},
    **{f"conv5_{i}": (14, 14, 512) for i in (1, 2, 3, 4)},
    "dense1": (4096,),
    "dense2": (4096,),
    "head": (1000,),
}
EFFICIENTNET = {
    "stem": (112, 112, 32),
    "block0": (112, 112, 16),
    **{f"block{i}": (56, 56, 24) for i in (1, 2)},
    **{f"block{i}": (28, 28, 40) for i in (3, 4)},
    **{f"block{i}": (14, 14, 80) for i in (5, 6, 7)},
    **{f"block{i}": (14, 14, 112) for i in (8, 9, 10)},
    **{f"block{i}": (7, 7, 192) for i in (11, 12, 13, 14)},
    "block15": (7, 7, 320),
    "top": (7, 7, 1280),
    "head": (1000,),
}
LITE2 = {
    "stem": (112, 112, 32),
    "block0": (112, 112, 16),
    **{f"block{i}": (56, 56, 24) for i in (1, 2, 3)},
    **{f"block{i}": (28, 28, 48) for i in (4, 5, 6)},
    **{f"block{i}": (14, 14, 88) for i in (7, 8, 9, 10)},
    **{f"block{i}": (14, 14, 120) for i in (11, 12, 13, 14)},
    **{f"block{i}": (7, 7, 208) for i in (15, 16, 17, 18, 19)},
    "block20": (7, 7, 352),
    "top": (7, 7, 1280),
    "head": (1000,),
}
TABLES = {
    "alexnet": ALEXNET,
    "efficientnet_lite0": EFFICIENTNET | {"stem_norm": (112, 112, 32), "top_norm": (7, 7, 1280)},
    "efficientnet_lite2": LITE2 | {"stem_norm": (112, 112, 32), "top_norm": (7, 7, 1280)},
    "vgg19": VGG19,
    "vgg19_bn": VGG19 | {name.replace("conv", "norm"): shape for name, shape in VGG19.items() if "conv" in name},
}


def params_of(encoder, shape):
    """Shapes of the parameters, without computing anything."""
    sample = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x)["params"], sample)


@pytest.mark.parametrize("name", TABLES)
def test_every_layer_gives_its_shape(name):
    encoder = make_encoder(name, 1000)
    x = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    watch = lambda params, x: encoder.apply({"params": params}, x, capture_intermediates=True, mutable="intermediates")
    params = params_of(encoder, x.shape)
    logits, state = jax.eval_shape(watch, params, x)
    assert logits.shape == (2, 1000) and logits.dtype == jnp.float32
    assert {layer: state["intermediates"][layer]["__call__"][0].shape[1:] for layer in params} == TABLES[name]


@pytest.mark.parametrize(
    ("name", "trained", "statistics"),
    # A mean and a variance of each of 5,504, 21,008 and 29,048 channels are held but not trained.
    [
        ("alexnet", 61_100_840, 0),
        ("efficientnet_lite0", 4_652_008, 2 * 21_008),
        ("efficientnet_lite2", 6_092_072, 2 * 29_048),
        ("vgg19", 143_667_240, 0),
        ("vgg19_bn", 143_678_248, 2 * 5_504),
    ],
)
def test_parameter_counts(name, trained, statistics):
    leaves = jax.tree_util.tree_leaves_with_path(params_of(make_encoder(name, 1000), (1, 224, 224, 3)))
    count = lambda wanted: sum(leaf.size for path, leaf in leaves if (path[-1].key in ("mean", "var")) == wanted)
    assert (count(False), count(True)) == (trained, statistics)


@pytest.mark.parametrize("size", [32, 97, 160])
def test_efficientnet_reads_any_size(size):
    encoder = make_encoder("efficientnet_lite0", 5)
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = params_of(encoder, x.shape)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params_of(encoder, (1, 224, 224, 3)))
    out, state = jax.eval_shape(lambda p, x: encoder.apply({"params": p}, x, mutable="intermediates"), shapes, x)
    assert out.shape == (1, 5) and state["intermediates"]["features"][0].shape == (1, 1280)


@pytest.mark.parametrize("name", ["alexnet", "vgg19", "vgg19_bn"])
def test_other_sizes_are_refused(name):
    with pytest.raises(AssertionError):
        params_of(make_encoder(name, 5), (1, 192, 192, 3))


def test_vgg_names_are_those_of_torchvision():
    plain = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    normed = (0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49)
    for name, positions in (("vgg19", plain), ("vgg19_bn", normed)):
        found = dict(published_names(ENCODERS[name].published, make_encoder(name, 8), 224).values())
        expected = {f"features.{at}.{part}" for at in positions for part in ("weight", "bias")}
        expected |= {f"classifier.{at}.{part}" for at in (0, 3) for part in ("weight", "bias")}
        if name == "vgg19_bn":
            parts = ("weight", "bias", "running_mean", "running_var")
            expected |= {f"features.{at + 1}.{part}" for at in positions for part in parts}
        assert found.keys() == expected
        assert found["features.0.weight"] == (64, 3, 3, 3) and found["classifier.0.weight"] == (4096, 25_088)


def test_efficientnet_names_are_those_of_the_package():
    published = ENCODERS["efficientnet_lite0"].published
    found = dict(published_names(published, make_encoder("efficientnet_lite0", 8), 224).values())
    # 49 convolutions and 49 normalisations of four tensors.
    assert len(found) == 49 + 4 * 49
    assert found["_conv_stem.weight"] == (32, 3, 3, 3) and found["_conv_head.weight"] == (1280, 320, 1, 1)
    assert found["_blocks.3._depthwise_conv.weight"] == (144, 1, 5, 5)
    assert "_blocks.0._expand_conv.weight" not in found and found["_blocks.15._bn2.running_var"] == (320,)


@pytest.mark.parametrize("name", ENCODERS)
def test_parameters_and_logits_are_float32_whatever_is_computed_in(name):
    shape = (2, 10) if ENCODERS[name].reads == "features" else (2, 224, 224, 3)
    encoder = make_encoder(name, 6, compute_dtype="bfloat16")
    params, x = params_of(encoder, shape), jax.ShapeDtypeStruct(shape, jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    watch = lambda params, x: encoder.apply({"params": params}, x, capture_intermediates=True, mutable="intermediates")
    logits, state = jax.eval_shape(watch, params, x)
    assert logits.dtype == jnp.float32
    assert {state["intermediates"][layer]["__call__"][0].dtype for layer in params} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(("name", "shape"), [("compact", (4, 8, 8, 1)), ("mlp", (4, 10))])
def test_bfloat16_agrees_to_its_precision(name, shape):
    x = jax.random.normal(jax.random.key(0), shape)
    encoders = {dtype: make_encoder(name, 16, compute_dtype=dtype) for dtype in ("float32", "bfloat16")}
    params = jax.jit(encoders["float32"].init)(jax.random.key(1), x)["params"]
    full, half = (np.asarray(jax.jit(encoder.apply)({"params": params}, x)) for encoder in encoders.values())
    # Eight bits of mantissa: a relative error of 2^-9 in each of a few layers.
    assert 0 < np.abs(full - half).max() < 0.05 * np.abs(full).max()
