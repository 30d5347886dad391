"""Where a clip occurs in videos: sequences of codes laid beside one another at every moment."""

import re
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles.bundle import Bundle
from drlhash_jax.bundles.hamming import all_distances
from drlhash_jax.errors import UserError

# Of the moments at which a clip is compared with a video, the share that the bundle must have rows of.
_LEAST_SHARE = 0.5


class ClipMatch(NamedTuple):
    """A place where a clip may come from.

    Attributes:
      video: name of the file.
      seconds: into the video, where the clip would begin.
      distance: mean number of bits in which the frames differ.
      frames: that were compared.
    """

    video: str
    seconds: float
    distance: float
    frames: int


class ClipSearch(NamedTuple):
    """What was found.

    Attributes:
      matches: nearest first.
      median: distance at half of all the places that were tried, which is what chance gives.
    """

    matches: list[ClipMatch]
    median: float


def frame_id(video: str, seconds: float) -> str:
    """Id of a frame's row, after the W3C's media fragments: ``holiday.mp4#t=12.5``."""
    return f"{video}#t={f'{seconds:.3f}'.rstrip('0').rstrip('.')}"


def frame_rows(bundle: Bundle) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name of each video of a bundle -> seconds float64 ``[n]`` and rows int64 ``[n]`` of its frames.

    Raises:
      UserError: a row is no frame of a video.
    """
    found = defaultdict(list)
    for row, name in enumerate(bundle.ids()):
        video, _, seconds = name.rpartition("#t=")
        if not video or not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", seconds):
            raise UserError(f"{bundle.path} holds no videos: its row {row} is {name}, not NAME#t=SECONDS")
        found[video].append((float(seconds), row))
    return {video: (np.array(t), np.array(rows)) for video, (t, rows) in ((v, zip(*x)) for v, x in found.items())}


def align(distances: np.ndarray, slots: np.ndarray, phases: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of a clip from a video at every moment at which it may begin.

    The clip has `phases` frames for each slot of the video: at offset o, in these finer steps, its frame i is shown at
    the video's step o + i, and is compared where that is a whole slot.

    Args:
      distances: ``[Q, n]`` of the clip's frames from rows of the video.
      slots: int64 ``[n]``, whole number of the step of each row, at least 0, distinct.
      phases: at least 1.

    Returns:
      means float64 ``[phases * L]``, inf where the clip would not lie inside the video or too few rows are there, and
      the number of frames compared, int64; L is the number of slots.
    """
    length = int(slots.max()) + 1
    # Slots without a row, which was removed or could not be read, count for nothing.
    dense, there = np.zeros((len(distances), length)), np.zeros(length, np.int64)
    dense[:, slots], there[slots] = distances, 1
    means, counts = np.full(phases * length, np.inf), np.zeros(phases * length, np.int64)
    for phase in range(phases):
        rows = dense[phase::phases]
        num_places = length - len(rows) + 1
        if not len(rows) or num_places < 1:
            continue
        total = sum(row[place : place + num_places] for place, row in enumerate(rows))
        count = np.convolve(there, np.ones(len(rows), np.int64), "valid")
        # The clip begins `phase` steps before the slot of the first frame that is compared.
        begins = np.arange(num_places) * phases - phase
        usable = (begins >= 0) & (count >= _LEAST_SHARE * len(rows)) & (count > 0)
        means[begins[usable]], counts[begins[usable]] = total[usable] / count[usable], count[usable]
    return means, counts


def _best_places(means: np.ndarray, apart: int, k: int) -> list[int]:
    """The k offsets of smallest mean, nearest first; each at least `apart` from those before it."""
    left, places = means.copy(), []
    while len(places) < k and np.isfinite(left).any():
        best = int(np.argmin(left))
        places.append(best)
        left[max(0, best - apart + 1) : best + apart] = np.inf
    return places


def find_clip(bundle: Bundle, codes: np.ndarray, rate: float, phases: int, k: int = 5) -> ClipSearch:
    """Where a clip occurs in the videos of a bundle.

    Args:
      bundle: of frames, `rate` a second.
      codes: {0, 1} array ``[Q, K]``, frames of the clip, `phases` * `rate` a second.
      rate: frames a second of the bundle.
      phases: see `align`.
      k: most places.

    Returns:
      ClipSearch; places of one video are at least the clip's length apart.

    Raises:
      UserError: a bundle of other things, codes of another length, or a clip longer than every video.
    """
    packed = bundle.packed(codes)
    found: list[ClipMatch] = []
    everywhere = []
    for video, (seconds, rows) in frame_rows(bundle).items():
        slots = np.round(seconds * rate).astype(np.int64)
        means, counts = align(all_distances(packed, bundle.codes[rows]), slots, phases)
        everywhere.append(means[np.isfinite(means)])
        for place in _best_places(means, len(codes), k):
            found.append(ClipMatch(video, place / (phases * rate), float(means[place]), int(counts[place])))
    if not found:
        raise UserError(f"no video of {bundle.path} is as long as the clip: there is no place to compare")
    found.sort(key=lambda match: match.distance)
    return ClipSearch(found[:k], float(np.median(np.concatenate(everywhere))))
