"""Hashes and the whole study: toy hashes whose rows can be written down, saved models, ImageHash's hashes."""

import builtins
import io
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image
from trainings import codes

from drlhash_jax.config import default_config, plain_config
from drlhash_jax.data import ImageSpec, decode_image
from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.robustness import ATTACKS, PERCEPTUAL_HASHES, measure_robustness, model_hasher, perceptual_hasher
from drlhash_jax.runs import ModelRecord, write_model


def bright_channels(images):
    """Bit c tells whether the upper left pixel has a level of 100 or more in channel c."""
    return (images[:, 0, 0] >= 100).astype(np.uint8)


def images_of(*levels):
    """Four by four pixels of one colour each."""
    return np.broadcast_to(np.array(levels, np.uint8)[:, None, None], (len(levels), 4, 4, 3)).copy()


# Codes 000, 001, 011, 111.
IMAGES = images_of([20, 20, 20], [20, 20, 120], [20, 120, 120], [120, 120, 120])


def test_golden_rows():
    rows = measure_robustness(IMAGES, {"toy": bright_channels}, ["brightness"], false_positive_rate=0.5)
    assert [row["strength"] for row in rows] == [-60, -30, 30, 60]
    # 60 or 30 grey levels less turn every code into 000: distances 0, 1, 2, 3. More change none: 20 + 60 < 100.
    # Pairs: 0-1 1, 0-2 2, 0-3 3, 1-2 1, 1-3 2, 2-3 1, so 3, 2, 1 at distances 1, 2, 3 and mean 10 / 6.
    # At most half of 6 pairs: xi = 1, which 2 of 4 copies keep to.
    # Missed 3/4, 2/4, 1/4, 0 and wrong 0, 3/6, 5/6, 1 at thresholds 0 .. 3: equal at 1, rate 1/2.
    # Area: copy at 0 nearer than 6; at 1 than 3 and equal to 3 (4.5); at 2 than 1 and equal to 2 (2); at 3 equal to
    # 1 (.5): 13 of 24.
    golden = {
        "attack": "brightness",
        "strength": -60,
        "unit": "grey levels",
        "hasher": "toy",
        "bits": 3,
        "n": 4,
        "n_different": 6,
        "mean_distance": 1.5,
        "mean_different": 1.666667,
        "xi": 1,
        "max_false_positive_rate": 0.5,
        "false_positive_rate": 0.5,
        "detection_rate": 0.5,
        "eer": 0.5,
        "auc": 0.541667,
    }
    assert rows[0] == golden
    assert rows[1] == golden | {"strength": -30}
    assert rows[2] == golden | {"strength": 30, "mean_distance": 0, "detection_rate": 1, "eer": 0, "auc": 1}
    assert rows[3] == rows[2] | {"strength": 60}


def test_all_attacks_and_hashers_in_order():
    hashers = {"toy": bright_channels, "twice": lambda images: np.repeat(bright_channels(images), 2, axis=1)}
    rows = measure_robustness(IMAGES, hashers)
    expected = [(name, s, h) for name, row in ATTACKS.items() for s in row.strengths for h in hashers]
    assert [(row["attack"], row["strength"], row["hasher"]) for row in rows] == expected
    # Every bit written twice doubles distances and changes no decision.
    for toy, twice in zip(rows[::2], rows[1::2]):
        assert twice["bits"] == 6
        for name in ("detection_rate", "false_positive_rate", "eer", "auc"):
            assert twice[name] == toy[name]
        assert twice["mean_distance"] == pytest.approx(2 * toy["mean_distance"], abs=2e-6)


def test_order_of_images_does_not_matter():
    shuffled = IMAGES[[2, 0, 3, 1]]
    hashers = {"toy": bright_channels}
    assert measure_robustness(shuffled, hashers) == measure_robustness(IMAGES, hashers)


def test_a_blind_and_a_perfect_hash():
    blind = lambda images: np.zeros((len(images), 8), np.uint8)
    (row,) = measure_robustness(IMAGES, {"blind": blind}, ["rescale"])[:1]
    # Everything has one code: no threshold keeps to the rate, and nothing is told apart.
    assert (row["xi"], row["false_positive_rate"], row["detection_rate"]) == (-1, 0, 0)
    assert (row["eer"], row["auc"]) == (0.5, 0.5)
    rows = measure_robustness(IMAGES, {"toy": bright_channels}, ["rescale"])
    assert all((row["xi"], row["detection_rate"], row["eer"]) == (0, 1, 0) for row in rows)


@pytest.mark.parametrize(
    "images, hasher, message",
    [
        (IMAGES[..., 0], bright_channels, r"images must be uint8 \[n, H, W, 3\], not uint8 \[4, 4, 4\]"),
        (IMAGES / 255, bright_channels, "images must be uint8"),
        (IMAGES[:1], bright_channels, r"1 image\(s\): at least two"),
        (IMAGES[[0, 1, 2, 1]], bright_channels, "images 1 and 3 are the same pixels"),
        (IMAGES, lambda images: np.full((len(images), 4), 2), "hasher toy: 2 in row 0 is not binary"),
        (IMAGES, lambda images: np.zeros((1, 4)), "hasher toy: 1 codes for 4 images"),
    ],
)
def test_bad_input(images, hasher, message):
    with pytest.raises(UserError, match=message):
        measure_robustness(images, {"toy": hasher})


class Saved(NamedTuple):
    """A small random network of 12 bits over colour images of 16 pixels with two selections, and its own codes."""

    folder: Path
    images: np.ndarray
    codes: np.ndarray


def save_network(folder, inputs, name, num_bits, selections=None, image_files=None, **options):
    """Saves a random network; returns its codes of the inputs."""
    encoder, spec = make_encoder(name, num_bits, **options), fit_input_spec(inputs)
    params = jax.jit(encoder.init)(jax.random.key(0), inputs[:1].astype(np.float32))["params"]
    config = plain_config(default_config())
    config["encoder"] |= {"name": name, "options": options}
    shape = inputs.shape[1:]
    record = ModelRecord(config, "drlhash", num_bits, 10, spec, shape, params, selections or {}, image_files)
    write_model(folder, record)
    return codes(encoder, params, inputs, spec)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    selections = {4: {"ppo": [7, 0, 11, 3], "greedy": [1, 2, 3, 4]}}
    named = {"selections": selections, "image_files": ImageSpec(16)._asdict(), "width": 8}
    return Saved(folder, images, save_network(folder, images, "compact", 12, **named))


def test_saved_model(saved):
    np.testing.assert_array_equal(model_hasher(saved.folder)(saved.images), saved.codes)
    ppo = model_hasher(saved.folder, 4, "ppo")(saved.images)
    np.testing.assert_array_equal(ppo, saved.codes[:, [7, 0, 11, 3]])
    greedy = model_hasher(saved.folder, bits=4, selector="greedy")(saved.images)
    np.testing.assert_array_equal(greedy, saved.codes[:, 1:5])


def test_saved_model_resizes_as_it_decodes(saved):
    # Every pixel doubled, with margins that the central square leaves out.
    doubled = saved.images.repeat(2, axis=1).repeat(2, axis=2)
    large = np.pad(doubled, [(0, 0), (0, 0), (6, 6), (0, 0)])
    assert large.shape == (5, 32, 44, 3)
    decoded = []
    for image in large:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        decoded.append(decode_image(file.getvalue(), ImageSpec(16)))
    hasher = model_hasher(saved.folder)
    np.testing.assert_array_equal(hasher(large), hasher(np.stack(decoded)))


@pytest.mark.parametrize(
    "bits, selector, message",
    [
        (4, None, "bits=4, selector=None: give both"),
        (None, "ppo", "bits=None, selector=ppo: give both"),
        (8, "ppo", "no 8 bits by ppo in this model; it has 4 ppo, 4 greedy"),
        (4, "entropy", "no 4 bits by entropy"),
    ],
)
def test_selection_that_is_not_stored(bits, selector, message, saved):
    with pytest.raises(UserError, match=message):
        model_hasher(saved.folder, bits, selector)


@pytest.mark.parametrize(
    "name, inputs, message",
    [
        ("mlp", np.ones((3, 7), np.float32), "reads features; a hash of images needs a model of colour images"),
        ("compact", np.ones((3, 8, 8, 1), np.uint8), r"reads images of 1 channel\(s\)"),
    ],
)
def test_model_of_other_inputs(name, inputs, message, tmp_path):
    save_network(tmp_path, inputs, name, 4)
    with pytest.raises(UserError, match=message):
        model_hasher(tmp_path)


@pytest.mark.parametrize("name", PERCEPTUAL_HASHES)
def test_perceptual_hashes(name):
    rng = np.random.default_rng(1)
    images = np.stack([np.kron(rng.integers(0, 256, (5, 5, 3)), np.ones((8, 8, 1))) for _ in range(4)]).astype(np.uint8)
    codes = perceptual_hasher(name)(images)
    assert codes.shape == (4, 64) and codes.dtype == np.uint8 and set(np.unique(codes)) == {0, 1}
    assert perceptual_hasher(name, side=4)(images).shape == (4, 16)
    assert perceptual_hasher(name)(images[:0]).shape == (0, 64)
    rows = measure_robustness(images, {name: perceptual_hasher(name)}, ["brightness"])
    assert all(row["mean_distance"] < row["mean_different"] for row in rows)


def test_golden_dhash():
    # dhash asks whether a pixel is brighter than its left neighbour: everywhere in a ramp, nowhere in its mirror image.
    ramp = np.broadcast_to(np.linspace(0, 255, 36).astype(np.uint8)[None, :, None], (32, 36, 3))
    codes = perceptual_hasher("dhash")(np.stack([ramp, ramp[:, ::-1]]))
    assert codes.tolist() == [[1] * 64, [0] * 64]


def test_hash_without_its_package(monkeypatch):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "imagehash":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"phash needs the package ImageHash: pip install 'drlhash-jax\[report\]'"):
        perceptual_hasher("phash")


def test_unknown_hash():
    with pytest.raises(UserError, match="hash 'md5' is unknown: choose one of dhash, phash, whash"):
        perceptual_hasher("md5")
