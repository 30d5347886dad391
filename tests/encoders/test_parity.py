"""The published networks against torch's: the same file, the same images, the same logits."""

import jax
import numpy as np
import pytest

from drlhash_jax.encoders import ENCODERS, import_weights, make_encoder
from drlhash_jax.weights import read_weights

torch = pytest.importorskip("torch", exc_type=ImportError, reason="needs torch: pip install -e '.[parity]'")
networks = pytest.importorskip("torch_networks")

# Parameter counts that torchvision's documentation (the first three) and the package of the weights give.
COUNTS = {"alexnet": 61_100_840, "vgg19": 143_667_240, "vgg19_bn": 143_678_248}
COUNTS |= {"efficientnet_lite0": 4_652_008, "efficientnet_lite2": 6_092_072}
HEADS = {"efficientnet_lite0": "_fc", "efficientnet_lite2": "_fc"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "legacy"),
    [
        ("alexnet", 224, False),
        ("vgg19", 224, True),
        ("vgg19_bn", 224, False),
        ("efficientnet_lite0", 224, True),
        ("efficientnet_lite0", 97, False),
        ("efficientnet_lite2", 130, True),
    ],
)
def test_logits_equal_those_of_torch(name, size, legacy, tmp_path):
    network = networks.random_network(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[name]
    networks.save_plain(network, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    del network
    arrays = read_weights(tmp_path / "w.pth")
    encoder = make_encoder(name, 1000)
    params = import_weights(ENCODERS[name].published, encoder, arrays)
    # The published classifier as the head: a file's own is left out.
    head = HEADS.get(name, "classifier.6")
    params["head"] = {"kernel": arrays[f"{head}.weight"].T, "bias": arrays[f"{head}.bias"]}
    logits = np.asarray(jax.jit(encoder.apply)({"params": params}, images))
    spread = expected.std()
    error = np.abs(logits - expected).max() / spread
    print(f"{name}, {size} pixels: largest error {error:.1e} of the logits' deviation {spread:.2f}")
    assert spread > 0.1
    np.testing.assert_allclose(logits / spread, expected / spread, atol=1e-4)
