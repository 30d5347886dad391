"""Image files to pixels: one path, by Pillow alone, for training, evaluation and query.

The same file decoded or resized by another library or filter changes up to a quarter of the bits of a code, so the
`ImageSpec` is stored with a model and whoever encodes an image later goes through `decode_image` with it.
"""

import io
import stat
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 50_000_000


class UnreadableImageError(ValueError):
    """One image cannot be read; the message tells why."""


class Skipped(NamedTuple):
    """A file that was left out.

    Attributes:
      path: as it was listed.
      reason: why.
    """

    path: str
    reason: str


class ImageSpec(NamedTuple):
    """How an image file becomes pixels.

    Attributes:
      size: side of the result, in pixels.
      resize: filter, always Pillow's antialiased "bilinear".
      crop: part of the image that is kept, always the "central square".
      orientation: always that of the EXIF tag.
      background: grey level behind transparent pixels, always 255.
      sixteen_bit: what 16-bit grey levels are multiplied by, always "1/257".
    """

    size: int
    resize: str = "bilinear"
    crop: str = "central square"
    orientation: str = "exif"
    background: int = 255
    sixteen_bit: str = "1/257"


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB."""
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65_535:
            raise UnreadableImageError(f"grey levels from {levels.min()} to {levels.max()} exceed 16 bits")
        # Pillow's own conversion clips 16-bit levels at 255.
        image = Image.fromarray(np.round(levels / 257).astype(np.uint8))
    elif image.mode == "F":
        raise UnreadableImageError("pixels are floating point numbers")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # Plain conversion would show whatever colour transparent pixels hide.
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def central_square(image: Image.Image, spec: ImageSpec) -> np.ndarray:
    """The central square of an RGB image, resized: uint8 ``[size, size, 3]``."""
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    # Cut first: a strip of 1 x 5,000 pixels would otherwise be blown up whole.
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((spec.size, spec.size), Image.Resampling.BILINEAR, box))


def _decode(file: Path | io.BytesIO, spec: ImageSpec) -> np.ndarray:
    with warnings.catch_warnings():
        # Too many pixels are refused below, before they are decoded; other remarks do not change them.
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImageError(f"{width} x {height} pixels exceed {MAX_PIXELS // 10**6} megapixels")
            return central_square(_to_rgb(ImageOps.exif_transpose(image)), spec)


def decode_image(source: Path | bytes, spec: ImageSpec) -> np.ndarray:
    """Decodes one image: first frame, upright, on white, its central square resized.

    Args:
      source: a file, or its content. Formats outside `FORMATS` are refused whatever the file is called.
      spec: ImageSpec.

    Returns:
      uint8 RGB ``[size, size, 3]``.

    Raises:
      UnreadableImageError: not there, not a plain file, no image, cut short, too many pixels.
    """
    try:
        if isinstance(source, bytes):
            return _decode(io.BytesIO(source), spec)
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(source.stat().st_mode):
            raise UnreadableImageError("not a plain file")
        return _decode(source, spec)
    except UnreadableImageError:
        raise
    except FileNotFoundError as error:
        raise UnreadableImageError("no such file") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError(f"not an image of a format in {', '.join(FORMATS)}") from error
    except Exception as error:
        # Pillow's decoders raise almost anything on damaged files, and no file may end a run.
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
