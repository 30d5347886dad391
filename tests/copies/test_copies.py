"""Copies: the radius that a sample chooses, and groups of what was copied."""

import math

import numpy as np
import pytest
from commands import run_command
from PIL import Image
from small_models import PHOTOS, save_model

from drlhash_jax import bundles, copies, serving
from drlhash_jax.copies.choice import are_copies, choose_radius, false_pairs, tail
from drlhash_jax.data import ImageSpec
from drlhash_jax.errors import UserError


def test_the_tail_has_the_mean_and_the_variance():
    """Distances of bits that are equal with a chance drawn from a beta distribution have its tail."""
    rng = np.random.default_rng(0)
    drawn = rng.binomial(32, rng.beta(9.0, 6.0, 200_000))
    found = tail(np.bincount(drawn, minlength=33))
    np.testing.assert_allclose(found, np.cumsum(np.bincount(drawn, minlength=33)) / 200_000, atol=3e-3)
    even = tail(np.bincount(rng.binomial(32, 0.5, 200_000), minlength=33))
    assert even[4] == pytest.approx(sum(math.comb(32, k) for k in range(5)) / 2**32, rel=0.3)
    assert (tail(np.array([5, 0, 0])) == 1).all()


def test_pairs_that_are_too_near_are_copies():
    distances = np.concatenate([np.random.default_rng(0).binomial(64, 0.5, 4_950), [0, 2, 4, 30]])
    assert np.flatnonzero(are_copies(distances, 64)).tolist() == [4_950, 4_951, 4_952]


def test_false_pairs_grow_by_the_square():
    different = np.array([0, 3, 6, 3])
    few, many = (false_pairs(different, rows) for rows in (10, 100))
    assert few[3] == pytest.approx(45) and few[1] >= 45 * 3 / 12
    np.testing.assert_allclose(many, few * 4950 / 45)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        # 4 pairs within 0; 8 within 1, of which 1.6 are false; 10 within 2, of which 6 are.
        (1.0, (0, 4, 0.0, 0.4)),
        (0.79, (1, 8, 1.6, 0.8)),
        (0.4, (2, 10, 6.0, 1.0)),
    ],
)
def test_the_largest_radius_that_keeps_the_precision(precision, expected):
    same, found, false = np.array([4, 4, 2, 0]), np.array([4, 4, 2]), np.array([0.0, 1.6, 6.0, 9.0])
    assert choose_radius(same, false, found, precision) == expected


def test_no_radius_keeps_the_precision():
    choice = choose_radius(np.array([1, 9]), np.array([2.0, 3.0]), np.array([3, 0]), 0.95)
    assert choice.radius == -1 and copies.shown(choice) == "no radius keeps the precision"
    # Without any pair, what is expected decides: .04 is less than .05.
    assert choose_radius(np.array([1, 9]), np.array([0.04, 0.5]), np.array([0, 0]), 0.95).radius == 0


def test_pairs_are_counted_once():
    codes = np.random.default_rng(0).integers(0, 8, (40, 1)).astype(np.uint8)
    bits = np.unpackbits(codes, axis=1)
    distances = [(bits[a] != bits[b]).sum() for a in range(40) for b in range(a)]
    np.testing.assert_array_equal(bundles.count_pairs(codes, 2), np.bincount(distances, minlength=3)[:3])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Six photographs of smooth noise, a copy of the first as JPEG, their bundle, and its untrained model."""
    folder = tmp_path_factory.mktemp("copies")
    save_model(folder / "model", spec=PHOTOS, image_files=ImageSpec(12)._asdict())
    (folder / "photos").mkdir()
    for number in range(6):
        coarse = np.random.default_rng(10 + number).integers(0, 256, (6, 6, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
        image.save(folder / f"photos/{number}.png")
        if number == 0:
            image.save(folder / "photos/copy.jpg", quality=60)
    serving.encode_folder(serving.new_target(folder / "x.drlh", folder / "model"), folder / "photos")
    return folder


def test_a_copy_is_found_by_what_the_sample_shows_to_be_better(place):
    flags = ("--perceptual=phash", "--images=photos", "--model=model", "--precision=0.97")
    done = run_command("dedup", "--bundle=x.drlh", *flags, "--format=json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout == '{"ids": ["0.png", "copy.jpg"]}\n'
    sample, codes, phash = done.stderr.splitlines()
    assert sample == "by 70 attacked copies and 20 pairs of different images of a sample:"
    assert codes.startswith("  codes: ") and phash.startswith("  phash: 1 pairs within ") and phash.endswith(" (used)")


def test_what_cannot_be_compared(place, tmp_path):
    bundle = bundles.open_bundle(place / "x.drlh")
    with pytest.raises(UserError, match="0.png, a row of the bundle, cannot be read"):
        copies.find_copies(bundle, place / "model", tmp_path, "phash", 0.9)
    for flags, words in (
        (("--perceptual=phash",), "goes with --images"),
        (("--perceptual=phash", "--images=photos", "--model=model", "--radius=2"), "leave out --radius"),
        (("--precision=0.9",), "--precision goes with"),
    ):
        done = run_command("dedup", "--bundle=x.drlh", *flags, cwd=place)
        assert done.returncode == 1 and words in done.stderr and done.stdout == ""
