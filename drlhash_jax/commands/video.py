"""``video``: frames of videos to a bundle of codes, and where a clip occurs in them.

    python -m drlhash_jax.main video --videos=FOLDER --model=RUN --bundle=videos.drlh
    python -m drlhash_jax.main video --find=clip.mp4 --model=RUN --bundle=videos.drlh

Ids are NAME#t=SECONDS. With --append videos that are there by name are not coded again.
"""

import json
import sys
from pathlib import Path

from absl import flags

from drlhash_jax.errors import UserError

_VIDEOS = flags.DEFINE_string("videos", None, "A video, or a folder of videos, whose frames are coded.")
_FIND = flags.DEFINE_string("find", None, "A clip that is looked for in the bundle.")
_MODEL = flags.DEFINE_string("model", None, "A finished run on image files, or its model/.")
_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle that is made, or searched in.")
_FPS = flags.DEFINE_float("fps", 2.0, "Frames coded a second.", lower_bound=0.01, upper_bound=120.0)
_APPEND = flags.DEFINE_bool("append", False, "Add to a bundle of the same model, at its rate.")
_K = flags.DEFINE_integer("k", 5, "Most places of a clip.", lower_bound=1)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "How places are printed.")


def _check_flags() -> None:
    if not _MODEL.value or not _BUNDLE.value or bool(_VIDEOS.value) == bool(_FIND.value):
        raise UserError("video needs --model=DIR, --bundle=NAME.drlh, and one of --videos=FOLDER and --find=CLIP")
    if _FIND.value and (_FPS.present or _APPEND.value):
        raise UserError("--fps and --append go with --videos: a clip is looked for at the rate of the bundle")
    if _APPEND.value and _FPS.present:
        raise UserError("--fps does not go with --append: the bundle says it")


def _fill() -> None:
    from drlhash_jax import serving, terminal

    if _APPEND.value:
        target = serving.existing_target(_BUNDLE.value, _MODEL.value)
    else:
        # Frames and clips are compared by one function, where a model has two.
        target = serving.new_target(_BUNDLE.value, _MODEL.value, role="database")
    with terminal.counted_progress("encoding") as on_rows:
        filled = serving.encode_videos(target, Path(_VIDEOS.value), _FPS.value, on_rows)
    for each in filled.skipped:
        print(f"left out: {each.path}: {each.reason}", file=sys.stderr)
    there = f", {filled.present} videos were there already" if filled.present else ""
    print(f"{filled.added} frames written: {target.path}{there}")


def _find() -> None:
    from drlhash_jax import bundles, serving

    found = serving.ask_by_clip(bundles.open_bundle(_BUNDLE.value), _MODEL.value, Path(_FIND.value), _K.value)
    if _FORMAT.value == "json":
        places = [match._asdict() for match in found.matches]
        print(json.dumps({"clip": _FIND.value, "median": found.median, "matches": places}, indent=1))
        return
    print(f"{_FIND.value}, mean bits of difference; {found.median:.1f} at half of all places")
    for match in found.matches:
        print(f"  {match.distance:>6.2f}  {bundles.frame_id(match.video, match.seconds)}")


def run() -> None:
    """Fills the bundle, or prints the places of a clip, nearest first."""
    _check_flags()
    if _VIDEOS.value:
        _fill()
    else:
        _find()
