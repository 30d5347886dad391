"""Bundles made in parts: joined they are what one process makes, and what a part meets on its way does no harm."""

import os
import subprocess

import numpy as np
import pytest
from commands import ROOT, run_command
from PIL import Image
from small_models import FEATURES, PHOTOS, draw_inputs, save_model

from drlhash_jax import bundles, serving
from drlhash_jax.bundles import Shard, parse_shard
from drlhash_jax.data import ImageSpec
from drlhash_jax.errors import UserError
from drlhash_jax.serving import inputs as serving_inputs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of models of features and of photographs, embeddings with ids, and images of which some are broken."""
    folder = tmp_path_factory.mktemp("shards")
    save_model(folder / "run/model")
    save_model(folder / "other", num_bits=7)
    save_model(folder / "photos", spec=PHOTOS, image_files=ImageSpec(12)._asdict())
    np.save(folder / "x.npy", draw_inputs(FEATURES, 50))
    np.save(folder / "less.npy", draw_inputs(FEATURES, 49))
    (folder / "ids.txt").write_text("".join(f"item {row}\n" for row in range(50)))
    rng = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "top.png"):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (14, 20, 3)).astype(np.uint8)).save(folder / "images" / name)
    for name in ("a/broken.png", "b/notes.txt", "z.jpg"):
        (folder / "images" / name).touch()
    return folder


def encode_features(place, bundle, shard=None, *, model="run", inputs="x.npy", logits=True):
    target = serving.new_target(bundle, place / model, logits=logits, shard=shard)
    return serving.encode_array(target, str(place / inputs), place / "ids.txt" if inputs == "x.npy" else None)


def encode_images(place, bundle, shard=None):
    return serving.encode_folder(serving.new_target(bundle, place / "photos", shard=shard), place / "images")


def content(path):
    """All that a bundle says, whatever its segments."""
    bundle = bundles.open_bundle(path)
    assert bundles.find_faults(path) == []
    skipped = sorted(line for file in path.glob("*/skipped.jsonl") for line in file.read_text().splitlines())
    logits = bundle.logits_of(np.arange(len(bundle.codes))).tolist() if bundle.manifest.has_logits else None
    manifest = bundle.manifest
    return bundle.codes.tolist(), bundle.ids(), logits, skipped, manifest.model, manifest.role, manifest.num_bits


@pytest.mark.parametrize(
    "encode, of", [(encode_features, 1), (encode_features, 3), (encode_features, 60), (encode_images, 3)]
)
def test_shards_joined_are_one_encode(encode, of, place, tmp_path, monkeypatch):
    monkeypatch.setattr(serving_inputs, "_BLOCK_ROWS", 7)
    encode(place, tmp_path / "whole.drlh")
    path = tmp_path / "x.drlh"
    # In any order, as they come.
    for number in reversed(range(1, of + 1)):
        encode(place, path, Shard(number, of))
    assert bundles.join_shards(path) == (50 if encode is encode_features else 5)
    assert content(path) == content(tmp_path / "whole.drlh")
    assert len(bundles.open_bundle(path).manifest.segments) == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("of", [1, 3, 7, 60])
def test_every_row_is_in_one_shard(of):
    parts = [range(50)[Shard(number, of).rows(50)] for number in range(1, of + 1)]
    assert [row for part in parts for row in part] == list(range(50))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_same_shard_twice_changes_nothing(place, tmp_path):
    arguments = ("encode", "--model=run", "--embeddings=x.npy", f"--bundle={tmp_path / 'x.drlh'}", "--shard=2/3")
    written = tmp_path / "x-00002-of-00003.drlh"
    first = run_command(*arguments, cwd=place)
    assert first.stdout == f"17 rows written: {written}\n", first.stderr
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*")}
    assert run_command(*arguments, cwd=place).stdout == f"0 rows written: {written}, 17 were there already\n"
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*")} == before
    other = run_command(*arguments, "--model=other", cwd=place)
    assert other.returncode == 1 and "--model=other is not the model of" in other.stderr


def test_two_processes_with_one_shard(place, tmp_path):
    """A scheduler may start one again while it is still at work: the bundle of the first to end stays."""
    path = tmp_path / "x.drlh"
    target = serving.new_target(path, place / "run", shard=Shard(1, 2))
    nested = []

    def on_rows(done, total):
        if not nested:
            nested.append(True)
            encode_features(place, path, Shard(1, 2), logits=False)
            nested.append((target.path / "manifest.json").stat().st_ino)

    assert serving.encode_array(target, str(place / "x.npy"), place / "ids.txt", on_rows).added == 25
    assert (target.path / "manifest.json").stat().st_ino == nested[1]
    assert sorted(os.listdir(tmp_path)) == ["x-00001-of-00002.drlh"] and bundles.find_faults(target.path) == []


def test_a_kill_leaves_no_shard(place, tmp_path):
    path = tmp_path / "x.drlh"
    program = (
        "import os\nfrom drlhash_jax import serving\nfrom drlhash_jax.bundles import Shard\n"
        f"target = serving.new_target({str(path)!r}, 'run', shard=Shard(1, 2))\n"
        "serving.encode_array(target, 'x.npy', on_rows=lambda done, total: os._exit(9) if done else None)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run(["python", "-c", program], cwd=place, env=environment, capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    assert bundles.find_shards(path) == {} and len(os.listdir(tmp_path)) == 1
    for number in (1, 2):
        encode_features(place, path, Shard(number, 2))
    assert bundles.join_shards(path) == 50
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_joined(place, tmp_path):
    path = tmp_path / "x.drlh"

    def refused(words):
        with pytest.raises(UserError, match=words) as caught:
            bundles.join_shards(path)
        assert "\n" not in str(caught.value) and not path.exists()

    first, second = (Shard(number, 2).path(path) for number in (1, 2))
    encode_features(place, path, Shard(1, 2))
    refused("1 of 2 shards of .*x.drlh are not there: run encode --shard=2/2")
    for changes in ({"model": "other"}, {"inputs": "less.npy"}, {"logits": False}):
        encode_features(place, path, Shard(2, 2), **changes)
        refused("differ in model, flags or number of inputs")
        second.rename(tmp_path / f"{len(os.listdir(tmp_path))}.drlh")
    encode_features(place, path, Shard(2, 2))
    encode_features(place, path, Shard(2, 3))
    refused("has shards of 2 and of 3 beside it")
    Shard(2, 3).path(path).rename(tmp_path / "away.drlh")
    (codes,) = first.glob("*/codes.npy")
    codes.write_bytes(codes.read_bytes()[:-1] + b"\x00")
    refused("codes.npy")


def test_rows_are_named_by_their_number_in_the_whole(place, tmp_path):
    rows = draw_inputs(FEATURES, 50)
    rows[33, 2] = np.nan
    np.save(tmp_path / "nan.npy", rows)
    for number in (1, 3):
        target = serving.new_target(tmp_path / "x.drlh", place / "run", shard=Shard(number, 3))
        if number == 3:
            with pytest.raises(UserError, match="row 33 holds a number that is not finite"):
                serving.encode_array(target, str(tmp_path / "nan.npy"))
        else:
            serving.encode_array(target, str(tmp_path / "nan.npy"))
    assert list(bundles.find_shards(tmp_path / "x.drlh").values()) == [Shard(1, 3)]


def test_a_shard_of_broken_images_is_refused(place, tmp_path):
    """A folder that is not mounted must not look like a shard without rows."""
    with pytest.raises(UserError, match="none of 1 files can be read, the last is z.jpg"):
        encode_images(place, tmp_path / "x.drlh", Shard(7, 7))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/100000", "1 /3", "١/3"])
def test_what_is_no_shard(text):
    with pytest.raises(UserError, match="--shard=.*: give i/n"):
        parse_shard(text)


def test_slurm_array(place, tmp_path):
    """The script under two made-up tasks, and the two commands of the README."""
    for number in (2, 1):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "SLURM_ARRAY_TASK_ID": str(number)}
        environment |= {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
        script = ("bash", str(ROOT / "launch/encode_array.sbatch"), "--model=run", "--embeddings=x.npy")
        done = subprocess.run(
            [*script, f"--bundle={tmp_path / 'x.drlh'}"], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    done = run_command("compact", "--bundle=x.drlh", cwd=tmp_path)
    assert done.stdout == "50 rows of 2 shards in one segment: x.drlh; the shards are not needed any more\n", (
        done.stderr
    )
    assert run_command("compact", "--bundle=x.drlh", cwd=tmp_path).stdout == "50 rows in one segment: x.drlh\n"
