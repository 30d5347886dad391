"""Content-preserving attacks: an image and a strength give a copy that shows the same scene (thesis Fig. 1.3).

Every attack is a pure function ``(image, strength) -> image``; image and result are uint8 RGB ``[H, W, 3]`` of one
size, the size that the hash expects, since what leaves pixels out (crop, rotation) is resized back. Resampling is
Pillow's bilinear filter, antialiased where the image shrinks, as in `data.decode_image`. An image of another type or
shape, and a strength outside the attack's range, raise ValueError.
"""

import hashlib
import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_WATERMARK = "SAMPLE"
# The middle of 0 .. 255, which contrast keeps.
_MID_GREY = 127.5


class Attack(NamedTuple):
    """A row of `ATTACKS`.

    Attributes:
      function: ``(image, strength) -> image``.
      strengths: the strengths to study, in the order of an axis.
      unit: of the strength.
      meaning: what a strength does.
      neutral: strength that gives the image back unchanged; None if there is none.
    """

    function: Callable[[np.ndarray, float], np.ndarray]
    strengths: tuple[float, ...]
    unit: str
    meaning: str
    neutral: float | None


def _check(image: np.ndarray, strength: float, low: float, high: float) -> None:
    """Raises ValueError for anything but a uint8 RGB image and a strength from low to high."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an attack takes a uint8 image [H, W, 3], not {image.dtype} {list(image.shape)}")
    if not low <= strength <= high:
        raise ValueError(f"strength={strength}: must lie in {low} .. {high}")


def _to_bytes(levels: np.ndarray) -> np.ndarray:
    """Grey levels of any size, rounded and clipped."""
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, strength: float) -> np.ndarray:
    """Compression at a quality of 1 .. 100, colour at half the resolution (4:2:0) whatever the quality."""
    _check(image, strength, 1, 100)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=round(strength), subsampling="4:2:0")
    return np.asarray(Image.open(file))


def gaussian_noise(image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    """Adds independent normal noise of this standard deviation to every channel.

    The noise of an image is a function of its pixels and the seed: another image gets other noise, a stronger attack
    the same noise enlarged.
    """
    _check(image, strength, 0, 255)
    digest = hashlib.sha256(image.tobytes()).digest()
    noise = np.random.default_rng([seed, int.from_bytes(digest[:8])]).standard_normal(image.shape)
    return _to_bytes(image + strength * noise)


def _blur_matrix(length: int, deviation: float) -> np.ndarray:
    """Gaussian blur of a line as a matrix: float64 ``[length, length]``, the line's ends repeated beyond it."""
    reach = math.ceil(4 * deviation)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / max(deviation, 1e-9)) ** 2)
    rows = np.arange(length)[:, None]
    matrix = np.zeros((length, length))
    np.add.at(matrix, (rows, np.clip(rows + offsets, 0, length - 1)), weights / weights.sum())
    return matrix


def blur(image: np.ndarray, strength: float) -> np.ndarray:
    """Gaussian blur, cut off at four standard deviations; the deviation is a percentage of the shorter side."""
    _check(image, strength, 0, 100)
    # Pillow's filter rounds to bytes three times on the way, which swallows weak blur.
    height, width = image.shape[:2]
    deviation = strength / 100 * min(height, width)
    down, across = _blur_matrix(height, deviation), _blur_matrix(width, deviation)
    return _to_bytes(np.einsum("yh,hwc,xw->yxc", down, image.astype(float), across, optimize=True))


def brightness(image: np.ndarray, strength: float) -> np.ndarray:
    """Adds this many grey levels."""
    _check(image, strength, -255, 255)
    return _to_bytes(image + float(strength))


def contrast(image: np.ndarray, strength: float) -> np.ndarray:
    """Multiplies the distance from mid-grey, x' = 127.5 + strength (x - 127.5)."""
    _check(image, strength, 0, 255)
    return _to_bytes(_MID_GREY + strength * (image - _MID_GREY))


def gamma(image: np.ndarray, strength: float) -> np.ndarray:
    """Power law, x' = 255 (x / 255)^strength: above 1 darkens."""
    _check(image, strength, 0.01, 100)
    return _to_bytes(255 * (image / 255) ** strength)


def rescale(image: np.ndarray, strength: float) -> np.ndarray:
    """Shrinks to this percentage of each side, at least one pixel, and enlarges again."""
    _check(image, strength, 0, 100)
    height, width = image.shape[:2]
    small = [max(1, round(length * strength / 100)) for length in (width, height)]
    shrunk = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)
    return np.asarray(shrunk.resize((width, height), Image.Resampling.BILINEAR))


def crop(image: np.ndarray, strength: float) -> np.ndarray:
    """Cuts this percentage off each side's length, half at either end in whole pixels, and enlarges the rest."""
    _check(image, strength, 0, 99)
    height, width = image.shape[:2]
    top, left = (round(length * strength / 200) for length in (height, width))
    kept = Image.fromarray(image[top : height - top, left : width - left])
    return np.asarray(kept.resize((width, height), Image.Resampling.BILINEAR))


def rotation(image: np.ndarray, strength: float) -> np.ndarray:
    """Turns by this many degrees, counter-clockwise, and enlarges the part that has no empty corner.

    That part is the largest centred one of the image's proportions: its sides are s times the image's,
    s = min(W / (W |cos| + H |sin|), H / (W |sin| + H |cos|)).
    """
    _check(image, strength, -180, 180)
    height, width = image.shape[:2]
    cos, sin = math.cos(math.radians(strength)), math.sin(math.radians(strength))
    across, down = width * abs(cos) + height * abs(sin), width * abs(sin) + height * abs(cos)
    scale = min(width / across, height / down)
    a, b = scale * cos, scale * sin
    x, y = width / 2, height / 2
    # Where each pixel of the result comes from: one resampling for turning and enlarging.
    source = a, -b, x - a * x + b * y, b, a, y - b * x - a * y
    turn = lambda channel: channel.transform((width, height), Image.Transform.AFFINE, source, Image.Resampling.BILINEAR)
    # Of bytes Pillow would drop the fractions here, which darkens.
    channels = [np.asarray(turn(Image.fromarray(image[..., c].astype(np.float32)))) for c in range(3)]
    return _to_bytes(np.stack(channels, axis=-1))


def watermark(image: np.ndarray, strength: float) -> np.ndarray:
    """Writes a word in white over four fifths of the width, this percentage opaque."""
    _check(image, strength, 0, 100)
    height, width = image.shape[:2]
    font = ImageFont.load_default(100)
    left, top, right, bottom = font.getbbox(_WATERMARK)
    font = ImageFont.load_default(100 * 0.8 * width / (right - left))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).text((width / 2, height / 2), _WATERMARK, fill=255, font=font, anchor="mm")
    cover = strength / 100 * (np.asarray(mask)[..., None] / 255)
    return _to_bytes(image + cover * (255.0 - image))


ATTACKS = {
    "jpeg": Attack(jpeg, (90, 70, 50, 30, 10), "quality", "JPEG quality; lower is stronger", None),
    "gaussian_noise": Attack(
        gaussian_noise, (5, 10, 20, 40), "grey levels", "standard deviation of noise added to each channel", 0
    ),
    "blur": Attack(blur, (0.5, 1, 2, 4), "% of side", "standard deviation of a Gaussian, in % of the shorter side", 0),
    "brightness": Attack(brightness, (-60, -30, 30, 60), "grey levels", "grey levels added", 0),
    "contrast": Attack(contrast, (0.5, 0.75, 1.25, 1.5), "factor", "factor of the distance from mid-grey", 1),
    "gamma": Attack(gamma, (0.5, 0.75, 1.33, 2), "exponent", "exponent of relative grey levels", 1),
    "rescale": Attack(rescale, (75, 50, 25, 12.5), "% of side", "size in between; lower is stronger", 100),
    "crop": Attack(crop, (5, 10, 20, 30), "% of side", "share of each side's length cut off", 0),
    "rotation": Attack(rotation, (1, 2, 5, 10), "degrees", "angle, the image enlarged past its corners", 0),
    "watermark": Attack(watermark, (20, 40, 60, 80), "% opaque", "opacity of a word across the image", 0),
}


def find_attack(name: str) -> Attack:
    """A row of `ATTACKS`.

    Raises:
      ValueError: there is none of this name.
    """
    if name not in ATTACKS:
        raise ValueError(f"attack {name!r} is unknown: choose one of {', '.join(ATTACKS)}")
    return ATTACKS[name]
