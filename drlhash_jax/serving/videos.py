"""Videos as sequences of codes in a bundle, and the place of a clip among them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drlhash_jax.bundles import Bundle, ClipSearch, find_clip, frame_id
from drlhash_jax.data import VIDEO_SUFFIXES, Frame, Skipped, UnreadableImageError, sample_frames
from drlhash_jax.errors import UserError
from drlhash_jax.serving.fill import Filled, OnRows, Rows, Target, code_rows, fill, join_rows, served_rate
from drlhash_jax.serving.inputs import list_files
from drlhash_jax.serving.models import image_spec, open_model_of

# Frames decoded and coded at a time, and rows after which a segment ends with the video.
_BLOCK_FRAMES = 256
_SEGMENT_ROWS = 4_096
# A clip begins anywhere between two frames of a bundle: it is sampled this many times as often.
PHASES = 4


def _readable(frames: Iterator[Frame], name: str, skipped: list[Skipped]) -> Iterator[Frame]:
    """Frames up to the first fault, which `skipped` gets."""
    last = None
    try:
        for last in frames:
            yield last
    except UnreadableImageError as error:
        skipped.append(Skipped(name, f"read up to {last.seconds:g} seconds: {error}" if last else str(error)))


def _blocks(frames: Iterator[Frame]) -> Iterator[tuple[list[float], np.ndarray]]:
    """Seconds and pixels uint8 ``[n, size, size, 3]`` of some frames at a time."""
    while block := list(itertools.islice(frames, _BLOCK_FRAMES)):
        yield [frame.seconds for frame in block], np.stack([frame.pixels for frame in block])


def _segments(target: Target, root: Path, names: list[str], skipped: list[Skipped], on_rows: OnRows) -> Iterator[Rows]:
    """Rows of whole videos, so that none is there in part when the same call goes on after a kill."""
    spec, rows, noted = image_spec(target.served), [], 0
    on_rows(0, len(names))
    for number, name in enumerate(names, start=1):
        frames = _readable(sample_frames(root / name, target.frames_per_second, spec), name, skipped)
        for seconds, pixels in _blocks(frames):
            rows.append(code_rows(target, pixels, [frame_id(name, each) for each in seconds], []))
        if rows and (number == len(names) or sum(len(each.ids) for each in rows) >= _SEGMENT_ROWS):
            yield join_rows(rows)._replace(skipped=skipped[noted:])
            rows, noted = [], len(skipped)
        on_rows(number, len(names))


def encode_videos(target: Target, place: Path, rate: float, on_rows: OnRows = lambda done, total: None) -> Filled:
    """Codes the frames of a video, or of those of a folder and its sub-folders, into a bundle.

    Ids are ``NAME#t=SECONDS``. Videos of which rows are there already are not coded again; one that is damaged is coded
    up to the fault.

    Args:
      target: Target.
      place: a file, or a folder.
      rate: frames a second; one that is added to keeps the rate that it has.
      on_rows: see `OnRows`; of videos.

    Returns:
      Filled.

    Raises:
      UserError: nothing there, a model that reads no image files, another bundle than one of videos, no frame can be
        read, or PyAV is not installed.
    """
    if target.ids is not None and target.frames_per_second is None:
        raise UserError(f"{target.path} is not a bundle of videos: give another name")
    target = target._replace(frames_per_second=target.frames_per_second or rate)
    image_spec(target.served)
    if place.is_file():
        root, names, skipped = place.parent, [place.name], []
    else:
        root = place
        names, skipped = list_files("videos", root, VIDEO_SUFFIXES, "a video")
    if not names:
        raise UserError(f"--videos={place} holds no video ({', '.join(VIDEO_SUFFIXES)})")
    there = {name.rpartition("#t=")[0] for name in target.ids or ()}
    new = [name for name in names if name not in there]
    added = fill(target, _segments(target, root, new, skipped, on_rows), len(names))
    if target.ids is None and not added:
        raise UserError(f"--videos={place}: no video can be read, the last is {skipped[-1].path}: {skipped[-1].reason}")
    return Filled(added, len(names) - len(new), tuple(skipped))


def ask_by_clip(bundle: Bundle, model: str | Path, path: Path, k: int = 5) -> ClipSearch:
    """Where a clip occurs in the videos of a bundle.

    Args:
      bundle: Bundle.
      model: the saved model, or the finished run, that made its codes.
      path: of the clip.
      k: most places.

    Raises:
      UserError: another model, a clip that cannot be read, or see `bundles.find_clip`.
    """
    served = open_model_of(bundle, model)
    if not (rate := served_rate(bundle)):
        raise UserError(f"{bundle.path} is not a bundle of videos: make one by video --videos")
    frames = sample_frames(path, PHASES * rate, image_spec(served))
    try:
        codes = [served.encode(pixels, role=bundle.manifest.role) for _, pixels in _blocks(frames)]
    except UnreadableImageError as error:
        raise UserError(f"--find={path} cannot be read: {error}") from error
    return find_clip(bundle, np.concatenate(codes), rate, PHASES, k)
