"""Pixels of every kind of image file, and files that are refused."""

import contextlib
import hashlib
import io
import os

import numpy as np
import pytest
from PIL import Image, features

from drlhash_jax.data.images import FORMATS, ImageSpec, UnreadableImageError, decode_image

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (6, 8, 3), np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(image, size=2, kind="PNG", **options):
    return decode_image(encoded(image, kind, **options), ImageSpec(size))


def plain(mode, colour, size=(4, 4)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("RGB", (10, 20, 30), "PNG", (10, 20, 30)),
        ("L", 77, "PNG", (77, 77, 77)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("1", 0, "TIFF", (0, 0, 0)),
        # Transparent pixels show white, not the colour that they hide; half transparent ones are mixed with white.
        ("RGBA", (255, 0, 0, 0), "PNG", (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), "PNG", (255, 0, 0)),
        ("RGBA", (200, 0, 100, 51), "PNG", (244, 204, 224)),
        ("LA", (0, 0), "PNG", (255, 255, 255)),
        ("LA", (100, 255), "PNG", (100, 100, 100)),
        # Full ink of every colour is black, no ink is white.
        ("CMYK", (0, 0, 0, 0), "TIFF", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("CMYK", (10, 20, 30, 255), "TIFF", (0, 0, 0)),
        # 65,535 / 257 is 255, 30,000 / 257 is 116.7.
        ("I;16", 65_535, "PNG", (255, 255, 255)),
        ("I;16", 30_000, "PNG", (117, 117, 117)),
        ("I;16", 30_000, "TIFF", (117, 117, 117)),
        ("I", 257, "TIFF", (1, 1, 1)),
    ],
)
def test_modes(mode, colour, kind, expected):
    out = decoded(plain(mode, colour), kind=kind)
    assert out.dtype == np.uint8 and out.shape == (2, 2, 3)
    np.testing.assert_array_equal(out, np.broadcast_to(np.uint8(expected), (2, 2, 3)))


def test_palette_and_its_transparent_colour():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    assert decoded(image)[0, 0].tolist() == [9, 8, 7]
    assert decoded(image, transparency=1)[0, 0].tolist() == [255, 255, 255]
    assert decoded(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3))[0, 0].tolist() == [255, 255, 255]


def test_adobe_cmyk_jpeg():
    # Photoshop's inverted CMYK is turned by Pillow on writing and reading alike.
    assert (decoded(plain("CMYK", (0, 0, 0, 0), (8, 8)), kind="JPEG") > 250).all()


def test_floating_point_and_wide_integers_are_refused():
    for image in (plain("F", 0.5), plain("I", 70_000), plain("I", -1)):
        with pytest.raises(UnreadableImageError, match="floating|16 bits"):
            decoded(image, kind="TIFF")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    # What a viewer shows for each tag, by the standard: rows and columns of the stored picture.
    turned = {
        1: PHOTO,
        2: PHOTO[:, ::-1],
        3: PHOTO[::-1, ::-1],
        4: PHOTO[::-1],
        5: PHOTO.transpose(1, 0, 2),
        6: PHOTO[::-1].transpose(1, 0, 2),
        7: PHOTO[::-1, ::-1].transpose(1, 0, 2),
        8: PHOTO.transpose(1, 0, 2)[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(
        decoded(Image.fromarray(PHOTO), exif=exif), decoded(Image.fromarray(np.ascontiguousarray(turned)))
    )


def test_central_square_is_kept():
    # Left and right of the square red, the square itself green.
    wide = np.zeros((4, 10, 3), np.uint8)
    wide[..., 0] = 255
    wide[:, 3:7] = (0, 255, 0)
    for image in (wide, wide.transpose(1, 0, 2)):
        out = decoded(Image.fromarray(np.ascontiguousarray(image)), 4)
        np.testing.assert_array_equal(out, np.broadcast_to(np.uint8([0, 255, 0]), (4, 4, 3)))


def test_resize_is_antialiased():
    # A fine checkerboard becomes grey; nearest or plain bilinear sampling would keep black or white.
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert abs(decoded(Image.fromarray(board), 8).astype(int) - 127).max() <= 2


def test_same_size_is_untouched():
    np.testing.assert_array_equal(decoded(Image.fromarray(PHOTO[:6, :6]), 6), PHOTO[:6, :6])


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(size):
    assert decoded(plain("RGB", (9, 9, 9), size), 224).tolist() == np.full((224, 224, 3), 9).tolist()


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind):
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("Pillow was built without WebP")
    assert abs(decoded(plain("RGB", (200, 100, 50), (16, 16)), kind=kind).astype(int) - (200, 100, 50)).max() <= 6


def test_first_frame():
    frames = [plain("L", level) for level in (40, 200)]
    assert decoded(frames[0], kind="GIF", save_all=True, append_images=frames[1:])[0, 0].tolist() == [40, 40, 40]


def test_golden_pixels():
    # Changes if Pillow's filter changes: codes of models trained before would no longer be comparable.
    gradient = np.add.outer(np.arange(50) * 3, np.arange(80))[..., None] + np.array([0, 20, 40])
    out = decoded(Image.fromarray(gradient.astype(np.uint8)), 16)
    assert hashlib.sha256(out.tobytes()).hexdigest()[:16] == "ab6b5c6f35681404"


def test_other_formats_are_refused_whatever_their_name(tmp_path):
    for kind in ("PPM", "EPS", "PDF", "ICO"):
        path = tmp_path / f"{kind}.jpg"
        plain("RGB", (1, 2, 3), (16, 16)).save(path, kind)
        with pytest.raises(UnreadableImageError, match="not an image of a format"):
            decode_image(path, ImageSpec(4))


def refused(source, words):
    with pytest.raises(UnreadableImageError, match=words):
        decode_image(source, ImageSpec(4))


JPEG = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an image"),
        (b"<html><body>404</body></html>", "not an image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:20], "not an image|truncated|OSError"),
        (encoded(Image.fromarray(PHOTO))[:90], "truncated|Truncated"),
    ],
)
def test_damaged_content(content, words):
    refused(content, words)


def test_every_truncation_is_refused_or_decoded():
    content = encoded(Image.fromarray(PHOTO))
    for length in range(len(content)):
        with contextlib.suppress(UnreadableImageError):
            assert decode_image(content[:length], ImageSpec(4)).shape == (4, 4, 3)


def test_random_damage_raises_nothing_else():
    rng = np.random.default_rng(1)
    for kind in FORMATS[:-1]:
        content = np.frombuffer(encoded(Image.fromarray(PHOTO), kind), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            damaged[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
            with contextlib.suppress(UnreadableImageError):
                decode_image(damaged.tobytes(), ImageSpec(4))


def test_too_many_pixels_are_refused_before_decoding():
    # Some kilobytes each; the last is beyond Pillow's own limit too.
    for side in (7_072, 10_000, 14_000):
        refused(encoded(plain("1", 0, (side, side))), "50 megapixels|DecompressionBomb")


def test_files_that_are_not_plain(tmp_path):
    refused(tmp_path / "gone.jpg", "no such file")
    (tmp_path / "folder.jpg").mkdir()
    refused(tmp_path / "folder.jpg", "not a plain file")
    # Opening it would wait for a writer.
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "not a plain file")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    refused(tmp_path / "loop.jpg", "OSError|symbolic links|RuntimeError")


def test_file_and_bytes_agree(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(PHOTO)))
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", ImageSpec(3)), decoded(Image.fromarray(PHOTO), 3))
