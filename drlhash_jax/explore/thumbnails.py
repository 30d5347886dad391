"""Images of a bundle's rows, small enough to stand inside a page."""

import base64
import io
from pathlib import Path, PurePosixPath

from PIL import Image

from drlhash_jax.data.images import ImageSpec, UnreadableImageError, decode_image

_JPEG_QUALITY = 70
# Most rows -> side of a thumbnail in pixels: many small ones together stay a page that a browser opens.
_SIDES = {1_000: 128, 5_000: 80, 50_000: 40}


def side_for(num_rows: int) -> int:
    """Side of a thumbnail, in pixels, on a page of this many rows, at most 50,000."""
    return next(side for most, side in _SIDES.items() if num_rows <= most)


def thumbnail(path: Path, side: int) -> str | None:
    """An image's central square as JPEG in base64; None where there is no image that can be read."""
    try:
        pixels = decode_image(path, ImageSpec(side))
    except UnreadableImageError:
        return None
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def thumbnail_of_row(images: Path | None, name: str, side: int) -> str | None:
    """The thumbnail of a row, whose id is the path of its image in a folder.

    An id that leads out of the folder, as no id of `encode` does, has none: a bundle of others must not choose which
    files are shown.
    """
    inner = PurePosixPath(name)
    if images is None or inner.is_absolute() or ".." in inner.parts:
        return None
    path = images / inner
    if not path.resolve().is_relative_to(images.resolve()):
        return None
    return thumbnail(path, side)
