"""``video``: films of moving photographs, and the place of a clip that was saved anew, scaled and cropped."""

import json

import numpy as np
import pytest
from commands import run_command, run_well
from small_models import PHOTOS, save_model
from video_makers import cut, read_photographs, shots, write_video

from drlhash_jax import bundles, serving
from drlhash_jax.data import ImageSpec

pytest.importorskip("av")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with a model that nobody trained, films, what is no film, and a bundle of all."""
    folder = tmp_path_factory.mktemp("films")
    save_model(folder / "model", spec=PHOTOS, num_bits=64, image_files=ImageSpec(12)._asdict())
    return folder


def make_films(folder, shared_data):
    rng = np.random.default_rng(0)
    photographs = read_photographs(shared_data, range(60))
    (folder / "videos/more").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4", "more/c.mp4"):
        # Films share some of their photographs, which move in another way.
        chosen = rng.choice(len(photographs), 9, replace=False)
        frames = shots([photographs[each] for each in chosen], rng, (96, 72))
        write_video(folder / "videos" / name, frames, bit_rate=300_000)
    (folder / "videos/broken.mp4").write_text("no film")
    (folder / "videos/notes.txt").touch()


@pytest.fixture(scope="module")
def filled(films, shared_data):
    """The folder with its bundle."""
    make_films(films, shared_data)
    done = run_command("video", "--videos=videos", "--model=model", "--bundle=x.drlh", cwd=films)
    assert done.returncode == 0, done.stderr
    assert "left out: broken.mp4: " in done.stderr and "left out: notes.txt: not named like a video" in done.stderr
    return films


# A piece that begins between two frames of the bundle, of another codec, poorer, smaller, less its rim.
ALL_OF_IT = ("a.mp4", 15.1, 8.0, (80, 60), 0.05, "mpeg4", 60_000)
OTHERS = {
    "saved anew": ("b.mp4", 11.3, 6.0, (96, 72), 0.0, "mpeg4", 60_000),
    "smaller": ("more/c.mp4", 4.7, 4.0, (64, 48), 0.0, "libx264", 40_000),
    "of another form": ("b.mp4", 20.6, 6.0, (80, 54), 0.0, "libvpx-vp9", 60_000),
}
CLIPS = [pytest.param(*ALL_OF_IT, id="all of it")] + [
    pytest.param(*clip, id=name, marks=pytest.mark.exhaustive) for name, clip in OTHERS.items()
]


@pytest.mark.parametrize("video, start, seconds, size, share, codec, bit_rate", CLIPS)
def test_a_clip_is_found(filled, tmp_path, video, start, seconds, size, share, codec, bit_rate):
    clip = tmp_path / "clip.mkv"
    write_video(clip, cut(filled / "videos" / video, start, seconds, size, share), codec, bit_rate)
    find = ("video", f"--find={clip}", "--bundle=x.drlh", "--model=model")
    found = json.loads(run_well(*find, "--format=json", cwd=filled))
    best, second, *_ = found["matches"]
    assert best["video"] == video and abs(best["seconds"] - start) <= 0.5
    assert best["distance"] < 0.7 * second["distance"] and second["distance"] < found["median"]
    table = run_well(*find, "--k=2", cwd=filled).splitlines()
    assert len(table) == 3 and table[1].endswith(bundles.frame_id(best["video"], best["seconds"]))


def test_frames_are_rows_and_are_coded_once(filled):
    bundle = bundles.open_bundle(filled / "x.drlh")
    names = bundle.ids()
    assert names[:3] == ["a.mp4#t=0", "a.mp4#t=0.5", "a.mp4#t=1"] and bundles.find_faults(bundle.path) == []
    assert {name.partition("#")[0] for name in names} == {"a.mp4", "b.mp4", "more/c.mp4"}
    again = run_well("video", "--videos=videos", "--model=model", "--bundle=x.drlh", "--append", cwd=filled)
    assert again == "0 frames written: x.drlh, 3 videos were there already\n"


MISTAKES = {
    "nothing": ((), "video needs --model=DIR"),
    "two things": (("--videos=videos", "--find=x.mp4", "--model=model", "--bundle=x.drlh"), "one of --videos"),
    "a rate of a clip": (("--find=x.mp4", "--fps=3", "--model=model", "--bundle=x.drlh"), "--fps and --append go with"),
    "no folder": (("--videos=nowhere", "--model=model", "--bundle=y.drlh"), "--videos=nowhere: no such folder"),
    "no videos": (("--videos=model", "--model=model", "--bundle=y.drlh"), "--videos=model holds no video"),
    "no good video": (("--videos=bad", "--model=model", "--bundle=y.drlh"), "no video can be read, the last is x.mp4"),
    "no clip": (("--find=x.mp4", "--model=model", "--bundle=v.drlh"), "--find=x.mp4 cannot be read"),
    "no bundle of videos": (("--find=x.mp4", "--model=model", "--bundle=i.drlh"), "i.drlh is not a bundle of videos"),
    "another bundle": (
        ("--videos=bad", "--append", "--model=model", "--bundle=i.drlh"),
        "i.drlh is not a bundle of videos",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(films, arguments, words):
    facts = serving.load(films / "model").facts()
    for name, rate in (("i", {}), ("v", {"frames_per_second": 2.0})):
        if not (films / f"{name}.drlh").exists():
            bundles.create_bundle(films / f"{name}.drlh", 64, model=facts | rate)
    (films / "bad").mkdir(exist_ok=True)
    (films / "bad/x.mp4").touch()
    done = run_command("video", *arguments, cwd=films)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert done.stderr.startswith("drlhash_jax: ") and done.stderr.count("\n") == 1
    assert not (films / "y.drlh").exists()
