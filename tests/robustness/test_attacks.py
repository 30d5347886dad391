"""Attacks: what each does to pixels whose copy can be written down, and what all of them have in common."""

import io

import numpy as np
import pytest
from PIL import Image

from drlhash_jax.robustness import ATTACKS, find_attack
from drlhash_jax.robustness.attacks import gaussian_noise


def photo(height=96, width=128, seed=0):
    """Smooth colours with a little detail, as a photograph has."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 220, (6, 8, 3), np.uint8)).resize((width, height), 2)
    return np.clip(np.asarray(coarse) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)


def attack(name, image, strength):
    return find_attack(name).function(image, strength)


def difference(a, b):
    return np.mean(np.abs(a.astype(float) - b))


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("size", [(96, 128), (33, 20), (8, 8)])
def test_copies_are_images_of_the_same_size(name, size):
    image = photo(*size)
    before = image.copy()
    for strength in ATTACKS[name].strengths:
        copy = attack(name, image, strength)
        assert copy.dtype == np.uint8 and copy.shape == image.shape
        np.testing.assert_array_equal(copy, attack(name, image, strength))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", [name for name, row in ATTACKS.items() if row.neutral is not None])
def test_neutral_strength_changes_nothing(name):
    image = photo()
    np.testing.assert_array_equal(attack(name, image, ATTACKS[name].neutral), image)


# Weakest first; the attacks in two directions are walked outwards from neutral.
WALKS = {name: row.strengths for name, row in ATTACKS.items()} | {
    "brightness": (10, 30, 60),
    "contrast": (0.9, 0.75, 0.5),
    "gamma": (1.1, 1.5, 2),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_stronger_attacks_change_more(name):
    image = photo()
    changes = [difference(attack(name, image, strength), image) for strength in WALKS[name]]
    assert changes == sorted(changes) and changes[0] > 0


def test_golden_levels():
    image = np.array([[[0, 100, 255]]], np.uint8)
    assert attack("brightness", image, 30).tolist() == [[[30, 130, 255]]]
    assert attack("brightness", image, -30).tolist() == [[[0, 70, 225]]]
    # 127.5 - 127.5 / 2 = 63.75, 127.5 - 27.5 / 2 = 113.75, 127.5 + 127.5 / 2 = 191.25.
    assert attack("contrast", image, 0.5).tolist() == [[[64, 114, 191]]]
    # 127.5 - 255, 127.5 - 55, 127.5 + 255: clipped, 72.5 rounded to even, clipped.
    assert attack("contrast", image, 2).tolist() == [[[0, 72, 255]]]
    # 255 (100 / 255)^2 = 39.2, 255 sqrt(100 / 255) = 159.7.
    assert attack("gamma", image, 2).tolist() == [[[0, 39, 255]]]
    assert attack("gamma", image, 0.5).tolist() == [[[0, 160, 255]]]


def test_golden_noise():
    # At mid-grey nothing clips: mean 0, standard deviation 20 within four standard errors of 12,288 levels.
    image = np.full((64, 64, 3), 128, np.uint8)
    noise = attack("gaussian_noise", image, 20).astype(float) - 128
    assert abs(noise.mean()) < 4 * 20 / np.sqrt(noise.size)
    assert abs(noise.std() - 20) < 4 * 20 / np.sqrt(2 * noise.size)
    # Twice the strength is twice the same noise, up to rounding.
    double = attack("gaussian_noise", image, 40).astype(float) - 128
    inside = np.abs(double) < 120
    assert np.max(np.abs(double - 2 * noise)[inside]) <= 1.5


def test_noise_depends_on_image_and_seed():
    image = np.full((8, 8, 3), 128, np.uint8)
    other = image.copy()
    other[0, 0, 0] = 129
    noise = gaussian_noise(image, 20)
    assert np.mean(noise != gaussian_noise(image, 20, seed=1)) > 0.9
    assert np.mean(noise[1:] != gaussian_noise(other, 20)[1:]) > 0.9


def test_jpeg_is_pillow_s():
    image = photo()
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=30, subsampling=2)
    np.testing.assert_array_equal(attack("jpeg", image, 30), np.asarray(Image.open(file)))


def test_golden_blur():
    # A step of 200 between columns 31 and 32 under a deviation of 2 % of 50 rows, 1 pixel: the weights e^(-d d / 2) are
    # 1, .60653, .13534, .01111, .00034 for d = 0 .. 4, in all 2.50663. Column 31 gets those of d = 1 .. 4 on its right,
    # .75332 / 2.50663 = .30053 of 200; column 30 those of d = 2 .. 4, .05856; column 29 .00457; column 28 .00013.
    image = np.zeros((50, 64, 3), np.uint8)
    image[:, 32:] = 200
    blurred = attack("blur", image, 2)
    assert np.all(blurred == blurred[:1, :, :1])
    assert blurred[0, 28:36, 0].tolist() == [0, 1, 12, 60, 140, 188, 199, 200]


def test_blur_of_rows_is_blur_of_columns():
    image = photo(40, 40)
    turned = image.transpose(1, 0, 2)
    np.testing.assert_array_equal(attack("blur", turned, 3), attack("blur", image, 3).transpose(1, 0, 2))
    # So wide a blur that every pixel is about the mean; at the ends, which are repeated, more than about.
    flat = np.full((9, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(attack("blur", flat, 50), flat)


def test_golden_rescale():
    # To one pixel and back: every level is the mean, (0 + 0 + 0 + 100) / 4 = 25.
    image = np.zeros((2, 2, 3), np.uint8)
    image[1, 1] = 100
    assert attack("rescale", image, 50).tolist() == np.full((2, 2, 3), 25).tolist()


def test_golden_crop():
    # Half of each side of 4 x 4 pixels leaves the four pixels in the middle, enlarged: corners keep their level, and
    # between two pixels a quarter and three quarters of the way are mixed 3 : 1 and 1 : 3.
    image = np.zeros((4, 4, 3), np.uint8)
    image[1:3, 1:3] = np.array([[0, 200], [0, 200]])[..., None]
    assert attack("crop", image, 50)[..., 0].tolist() == [[0, 50, 150, 200]] * 4


def test_rotation_by_right_angles():
    image = photo(32, 32)
    for quarter in (1, 2, -1):
        np.testing.assert_array_equal(attack("rotation", image, 90 * quarter), np.rot90(image, quarter))
    wide = photo(20, 30)
    np.testing.assert_array_equal(attack("rotation", wide, 180), wide[::-1, ::-1])


@pytest.mark.parametrize("angle", [1, -10, 30, 45, 90, 135])
@pytest.mark.parametrize("size", [(40, 40), (24, 60)])
def test_rotation_leaves_no_corner_empty(angle, size):
    # Were anything taken from outside the image, it would be black.
    assert attack("rotation", np.full((*size, 3), 200, np.uint8), angle).min() == 200


def test_rotation_finds_the_turned_point():
    # A blob right of the centre is, 30 degrees counter-clockwise later, above the horizontal, and farther out by 1 / s:
    # s = 1 / (cos 30 + sin 30) = .732 for a square.
    image = np.zeros((101, 101, 3), np.uint8)
    image[49:52, 69:72] = 255
    turned = attack("rotation", image, 30)[..., 0].astype(float)
    y, x = (np.sum(axis * turned) / turned.sum() for axis in np.mgrid[:101, :101])
    radius = 20 * (np.cos(np.pi / 6) + np.sin(np.pi / 6))
    np.testing.assert_allclose([x - 50, 50 - y], [radius * np.cos(np.pi / 6), radius * np.sin(np.pi / 6)], atol=0.3)


def test_watermark_lightens_the_middle():
    image = np.full((60, 120, 3), 100, np.uint8)
    marked = attack("watermark", image, 100)[..., 0]
    rows, columns = np.nonzero(marked != 100)
    assert marked.max() == 255 and marked.min() == 100
    # Four fifths of the width, centred.
    assert abs(columns.max() - columns.min() + 1 - 96) <= 3 and abs(columns.max() + columns.min() - 119) <= 6
    assert rows.min() > 15 and rows.max() < 45
    # Half as opaque, half as far to white.
    half = attack("watermark", image, 50)[..., 0]
    np.testing.assert_allclose(half - 100.0, (marked - 100.0) / 2, atol=1)


@pytest.mark.parametrize(
    "name, strength",
    [
        ("jpeg", 0),
        ("jpeg", 101),
        ("gaussian_noise", -1),
        ("blur", -0.1),
        ("brightness", 256),
        ("contrast", -1),
        ("gamma", 0),
        ("rescale", 101),
        ("crop", 100),
        ("rotation", 181),
        ("watermark", 101),
        ("rotation", float("nan")),
    ],
)
def test_strength_out_of_range(name, strength):
    with pytest.raises(ValueError, match=f"strength={strength}: must lie in"):
        attack(name, photo(), strength)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 3))])
def test_only_colour_bytes(name, image):
    with pytest.raises(ValueError, match=r"an attack takes a uint8 image \[H, W, 3\]"):
        attack(name, image, ATTACKS[name].strengths[0])


def test_unknown_attack():
    with pytest.raises(ValueError, match="attack 'sepia' is unknown: choose one of jpeg"):
        find_attack("sepia")
