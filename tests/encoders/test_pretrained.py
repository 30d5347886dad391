"""Published weights: where each tensor goes, one list of all that does not fit, frozen statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import ENCODERS, import_weights, make_encoder
from drlhash_jax.encoders.frozen_norm import FrozenBatchNorm
from drlhash_jax.encoders.pretrained import published_names
from drlhash_jax.errors import UserError

NAME = "efficientnet_lite0"
ENCODER = make_encoder(NAME, 7)
PUBLISHED = ENCODERS[NAME].published


@pytest.fixture(scope="module")
def published():
    """Random tensors with the published names and shapes, a classifier and counters among them."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(0.5, 1.5, shape).astype(np.float32)
        for name, shape in published_names(PUBLISHED, ENCODER, 224).values()
    }
    counters = {name.replace("running_var", "num_batches_tracked"): np.array(3) for name in arrays if "_var" in name}
    return arrays | counters | {"_fc.weight": np.zeros((1000, 1280)), "_fc.bias": np.zeros(1000)}


def refused(arrays, *parts):
    with pytest.raises(UserError) as caught:
        import_weights(PUBLISHED, ENCODER, arrays)
    for part in (NAME, *parts):
        assert part in str(caught.value)
    return str(caught.value)


def test_every_tensor_finds_its_place(published):
    params = import_weights(PUBLISHED, ENCODER, published)
    shapes = jax.eval_shape(lambda: ENCODER.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"])
    assert params.keys() == shapes.keys() - {"head"}
    for layer, values in params.items():
        assert jax.tree.map(np.shape, values) == jax.tree.map(np.shape, shapes[layer])
        assert {leaf.dtype for leaf in jax.tree.leaves(values)} == {np.dtype(np.float32)}
    stem, depthwise = published["_conv_stem.weight"], published["_blocks.1._depthwise_conv.weight"]
    assert params["stem"]["kernel"][1, 2, 0, 5] == stem[5, 0, 1, 2]
    assert params["block1"]["depthwise"]["kernel"][0, 2, 0, 9] == depthwise[9, 0, 0, 2]
    np.testing.assert_array_equal(params["block1"]["norm2"]["var"], published["_blocks.1._bn2.running_var"])
    np.testing.assert_array_equal(params["block1"]["norm2"]["scale"], published["_blocks.1._bn2.weight"])


def test_a_file_without_classifier_will_do(published):
    arrays = {name: array for name, array in published.items() if not name.startswith("_fc")}
    assert import_weights(PUBLISHED, ENCODER, arrays).keys() == import_weights(PUBLISHED, ENCODER, published).keys()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, jnp.bfloat16])
def test_other_precisions_become_float32(published, dtype):
    arrays = published | {"_conv_stem.weight": published["_conv_stem.weight"].astype(dtype)}
    kernel = import_weights(PUBLISHED, ENCODER, arrays)["stem"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_allclose(kernel, published["_conv_stem.weight"].transpose(2, 3, 1, 0), rtol=0.01)


def test_everything_that_does_not_fit_is_listed_at_once(published):
    arrays = dict(published)
    del arrays["_bn0.running_mean"]
    arrays["_conv_stem.weight"] = np.zeros((32, 3, 5, 5), np.float32)
    arrays["_bn1.weight"] = np.zeros(1280, np.int64)
    arrays["_bn1.bias"] = np.full(1280, np.nan, np.float32)
    arrays["_se_reduce.weight"] = np.zeros(3)
    message = refused(arrays, "_bn0.running_mean [32] is missing", "_conv_stem.weight is [32, 3, 5, 5]")
    assert "expected [32, 3, 3, 3]" in message and "_bn1.weight is int64" in message
    assert "_bn1.bias holds NaN" in message and "_se_reduce.weight is not part of it" in message
    assert message.count(";") == 4


def test_long_lists_are_cut():
    message = refused({f"x{i}": np.zeros(1) for i in range(30)}, "and 235 more", "and 20 more")
    assert message.count("is missing") == message.count("is not part of it") == 10


def test_weights_of_another_network_are_refused(published):
    with pytest.raises(UserError, match="not the weights of alexnet"):
        import_weights(ENCODERS["alexnet"].published, make_encoder("alexnet", 4), published)


def test_frozen_norm_against_its_formula():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5)).astype(np.float32)
    params = {name: rng.uniform(0.5, 2.0, 5).astype(np.float32) for name in ("scale", "bias", "mean", "var")}
    expected = params["scale"] * (x - params["mean"]) / np.sqrt(params["var"] + 1e-3) + params["bias"]
    np.testing.assert_allclose(FrozenBatchNorm(1e-3).apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


def test_statistics_have_no_gradient():
    norm = FrozenBatchNorm(1e-3)
    x = jax.random.normal(jax.random.key(0), (4, 5))
    params = norm.init(jax.random.key(1), x)["params"]
    gradient = jax.grad(lambda params: jnp.sum(norm.apply({"params": params}, x) ** 2))(params)
    assert not gradient["mean"].any() and not gradient["var"].any()
    assert gradient["scale"].all() and gradient["bias"].all()


def test_norm_without_published_weights_changes_little():
    x = jax.random.normal(jax.random.key(0), (4, 5))
    norm = FrozenBatchNorm(1e-3)
    np.testing.assert_allclose(norm.apply(norm.init(jax.random.key(1), x), x), x / np.sqrt(1.001), rtol=1e-5)
