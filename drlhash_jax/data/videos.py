"""Frames of video files at a steady rate, by PyAV; they become pixels as images do (`images.py`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax.data.images import MAX_PIXELS, ImageSpec, UnreadableImageError, central_square
from drlhash_jax.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv")
# A playlist that is called x.mp4 would otherwise make FFmpeg open other files, and sites.
_OPTIONS = {"format_whitelist": "mov,matroska,webm,avi,mpegts,mpeg,ogg", "protocol_whitelist": "file"}
# A frame counts from this much before its time: times of files are rounded.
_ROUNDING = 1e-3
# Seconds that a frame may stay on the screen; a damaged time may be years away.
_LONGEST = 3_600.0


class Frame(NamedTuple):
    """What is on the screen at a moment.

    Attributes:
      seconds: since the video's first frame.
      pixels: uint8 RGB ``[size, size, 3]``.
    """

    seconds: float
    pixels: np.ndarray


def _load_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError("videos need the package av: pip install 'drlhash-jax[video]'") from error
    return av


def _shown(path: Path, rate: float) -> Iterator[tuple[float, Any]]:
    """PyAV's frame on the screen at 0, 1 / rate, 2 / rate, ... seconds; no more than two are held."""
    with _load_av().open(str(path), options=_OPTIONS) as container:
        if not container.streams.video:
            raise UnreadableImageError("it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        first = last = None
        count, now = 0, 0.0
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            first = frame.time if first is None else first
            if frame.time - first - now > _LONGEST:
                raise UnreadableImageError(f"its times jump by {frame.time - first - now:.0f} seconds")
            now = frame.time - first
            while last is not None and count / rate < now - _ROUNDING:
                yield count / rate, last
                count += 1
            last = frame
        if last is not None and count / rate <= now + _ROUNDING:
            yield count / rate, last


def sample_frames(path: Path, rate: float, spec: ImageSpec) -> Iterator[Frame]:
    """Frames of a video's first stream of pictures, upright, their central square resized as that of an image.

    Args:
      path: of the file.
      rate: frames a second of the result, whatever the file has; a frame is repeated while it stays on the screen.
      spec: ImageSpec.

    Yields:
      Frames, at least one, in the order of time; those before a fault come before it is raised.

    Raises:
      UnreadableImageError: no video, cut short, damaged, or too many pixels.
      UserError: PyAV is not installed.
    """
    seconds = None
    try:
        for seconds, frame in _shown(path, rate):
            if frame.width * frame.height > MAX_PIXELS:
                raise UnreadableImageError(
                    f"{frame.width} x {frame.height} pixels exceed {MAX_PIXELS // 10**6} million"
                )
            yield Frame(seconds, central_square(frame.to_image().rotate(frame.rotation, expand=True), spec))
    except (UserError, UnreadableImageError):
        raise
    except Exception as error:
        # As Pillow's, FFmpeg's decoders raise almost anything on damaged files, and no file may end a run.
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UnreadableImageError(reason) from error
    if seconds is None:
        raise UnreadableImageError("it has no frame")
