"""Places of clips in sequences of codes: the search against loops, and codes that are known to lie somewhere."""

import numpy as np
import pytest

from drlhash_jax import bundles
from drlhash_jax.bundles import clips
from drlhash_jax.errors import UserError


def by_loops(distances, slots, phases):
    """What `align` says, one moment and one frame after the other."""
    length = max(slots) + 1
    means, counts = [], []
    for begin in range(phases * length):
        shown = [(frame, begin + frame) for frame in range(len(distances)) if (begin + frame) % phases == 0]
        inside = all(step // phases < length for _, step in shown)
        found = [distances[frame, slots.index(step // phases)] for frame, step in shown if step // phases in slots]
        usable = shown and inside and found and len(found) >= 0.5 * len(shown)
        means.append(np.mean(found) if usable else np.inf)
        counts.append(len(found) if usable else 0)
    return means, counts


@pytest.mark.parametrize("phases", [1, 3])
@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_alignment_is_that_of_loops(phases, num_frames):
    rng = np.random.default_rng(num_frames)
    # The rows at 2, 5 and 6 were removed.
    slots = np.array([0, 1, 3, 4, 7, 8])
    distances = rng.integers(0, 20, (num_frames, len(slots)))
    means, counts = clips.align(distances, slots, phases)
    expected_means, expected_counts = by_loops(distances, slots.tolist(), phases)
    np.testing.assert_allclose(means, expected_means)
    np.testing.assert_array_equal(counts, expected_counts)


@pytest.fixture
def videos(tmp_path):
    """A bundle of two videos at one frame a second, and the codes of the finer steps, four a second."""
    rng = np.random.default_rng(0)
    fine = {name: rng.integers(0, 2, (4 * seconds, 40)).astype(np.uint8) for name, seconds in (("a", 30), ("b", 20))}
    bundles.create_bundle(tmp_path / "x.drlh", 40)
    for name, codes in fine.items():
        ids = [bundles.frame_id(f"{name}.mp4", second) for second in range(len(codes) // 4)]
        bundles.append_rows(tmp_path / "x.drlh", np.packbits(codes[::4], axis=1), ids)
    return bundles.open_bundle(tmp_path / "x.drlh"), fine


def test_a_clip_is_found_where_it_was_cut(videos):
    bundle, fine = videos
    # From second 7.25 to 12.25 of b; a bit of every frame is wrong.
    clip = fine["b"][29:49].copy()
    clip[:, 3] ^= 1
    found = bundles.find_clip(bundle, clip, 1.0, 4, k=3)
    assert found.matches[0] == bundles.ClipMatch("b.mp4", 7.25, 1.0, 5)
    assert found.matches[1].distance > 10 and 15 < found.median < 25 and len(found.matches) == 3
    # Both places of what is shown twice, and none beside them.
    bundles.append_rows(bundle.path, np.packbits(fine["b"][28:52:4], axis=1), [f"c#t={t}" for t in range(6)])
    first, second = bundles.find_clip(bundles.open_bundle(bundle.path), clip, 1.0, 4, k=2).matches
    assert [(each.video, each.seconds) for each in (first, second)] == [("b.mp4", 7.25), ("c", 0.25)]


def test_ids_of_frames():
    assert [bundles.frame_id("a#b.mp4", each) for each in (0, 12.5, 1 / 3, 10.0)] == [
        *("a#b.mp4#t=0", "a#b.mp4#t=12.5", "a#b.mp4#t=0.333", "a#b.mp4#t=10")
    ]


def test_what_cannot_be_searched_is_refused(videos, tmp_path):
    bundle, fine = videos
    with pytest.raises(UserError, match="no video of .* is as long as the clip"):
        bundles.find_clip(bundle, np.tile(fine["a"], (2, 1)), 1.0, 4)
    with pytest.raises(UserError, match="have 39 bits"):
        bundles.find_clip(bundle, fine["a"][:9, :39], 1.0, 4)
    for name in ("a.jpg", "a.mp4#t=-1", "#t=1", "a#t=1e400"):
        bundles.create_bundle(tmp_path / f"{name}.drlh", 40)
        bundles.append_rows(tmp_path / f"{name}.drlh", np.zeros((1, 5), np.uint8), [name])
        with pytest.raises(UserError, match=f"its row 0 is {name}, not NAME#t=SECONDS"):
            bundles.find_clip(bundles.open_bundle(tmp_path / f"{name}.drlh"), fine["a"][:4], 1.0, 4)
