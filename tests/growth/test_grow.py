"""A database grows on the command line: old bytes stay, both are found, and mistakes leave nothing behind."""

import hashlib
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from commands import run_well as run
from PIL import Image
from small_models import FEATURES, PHOTOS, draw_inputs, save_model

from drlhash_jax import bundles, growth, serving
from drlhash_jax.data import ImageSpec
from drlhash_jax.errors import UserError
from drlhash_jax.growth.codes import Codes

# The package has a function of this name.
grow_module = importlib.import_module("drlhash_jax.growth.grow")
GROW = ("grow", "--model=run", "--bundle=x.drlh", "--embeddings=new.npy", "--labels=new_labels.npy", "--out=grown")


def clusters(classes, num_rows, seed):
    rng = np.random.default_rng(seed)
    labels = np.asarray(classes)[rng.integers(0, len(classes), num_rows)]
    centres = 1.5 * np.random.default_rng(9).normal(size=(6, 8))
    return (centres[labels] + rng.normal(size=(num_rows, 8))).astype(np.float32), labels


def contents(folder):
    """Digest of every file of a folder."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A fitted model of three classes, a bundle of its codes, and new rows."""
    folder = tmp_path_factory.mktemp("grow")
    for name, classes, num_rows, seed in (("old", (0, 1, 2), 200, 0), ("new", (2, 3, 5), 120, 1)):
        rows, labels = clusters(classes, num_rows, seed)
        np.save(folder / f"{name}.npy", rows)
        np.save(folder / f"{name}_labels.npy", labels)
    np.save(folder / "wide.npy", np.zeros((120, 9), np.float32))
    np.save(folder / "two.npy", np.eye(3, dtype=np.uint8)[np.arange(120) % 3])
    (folder / "ids.txt").write_text("".join(f"{row + 5}\n" for row in range(120)))
    run(
        "fit",
        "--embeddings=old.npy",
        "--labels=old_labels.npy",
        "--bits=12",
        "--method=hashnet",
        "--model=run",
        cwd=folder,
    )
    run("encode", "--model=run", "--embeddings=old.npy", "--bundle=x.drlh", cwd=folder)
    save_model(folder / "other", "hashnet")
    np.save(folder / "rows.npy", draw_inputs(FEATURES, 12))
    run("encode", "--model=other", "--embeddings=rows.npy", "--bundle=other.drlh", cwd=folder)
    return folder


def test_old_rows_stay_and_both_are_found(place):
    before = contents(place)
    printed = run(*GROW, cwd=place).splitlines()
    assert {path: digest for path, digest in contents(place).items() if "/grown/" not in path} == before
    old, new = bundles.open_bundle(place / "x.drlh"), bundles.open_bundle(place / "grown/codes.drlh")
    assert new.codes[:200].tobytes() == old.codes.tobytes() and new.ids() == [str(row) for row in range(320)]
    digest = hashlib.sha256(old.codes.tobytes()).hexdigest()
    assert printed[0] == f"200 old rows of 3 classes, codes unchanged: SHA-256 {digest}"
    assert printed[1] == "120 new rows, 2 new classes (3, 5)"
    assert not bundles.find_faults(place / "grown/codes.drlh")
    scores = {line[2:13].strip(): [float(each) for each in line[13:].split()[:2]] for line in printed[4:7]}
    assert scores["all"][1] > scores["all"][0] and scores["new classes"][1] > scores["new classes"][0] + 0.1

    rows, labels = clusters((0, 1, 2, 3, 5), 100, 2)
    _, found = new.search(serving.load(place / "grown").encode(rows), 10)
    of_rows = np.concatenate([np.load(place / f"{name}_labels.npy") for name in ("old", "new")])
    # Of the five classes, .77 was measured.
    assert (of_rows[found] == labels[:, None]).mean() > 0.7


def test_what_has_grown_grows_again(place, tmp_path):
    """From what it keeps itself: the first model and its data are gone."""
    if not (place / "grown").exists():
        run(*GROW, cwd=place)
    shutil.copytree(place / "grown", tmp_path / "grown")
    rows, labels = clusters((1, 4), 60, 3)
    np.save(tmp_path / "more.npy", rows)
    np.save(tmp_path / "more_labels.npy", labels)
    more = ("--embeddings=more.npy", "--labels=more_labels.npy", "--out=again")
    printed = run("grow", "--model=grown", "--bundle=grown/codes.drlh", *more, cwd=tmp_path)
    assert printed.startswith("320 old rows of 5 classes, codes unchanged") and "1 new class (4)" in printed
    old, new = (bundles.open_bundle(tmp_path / name / "codes.drlh") for name in ("grown", "again"))
    assert new.codes[:320].tobytes() == old.codes.tobytes() and len(new.codes) == 380
    assert json.loads((tmp_path / "again/growth.json").read_text())["classes"] == ["0", "1", "2", "3", "5", "4"]


def test_old_codes_become_longer_and_change_a_little(place, tmp_path):
    """Old bits stay where they are asked to, all rows get further ones, and no code changes more than it may."""
    old = bundles.open_bundle(place / "x.drlh").codes
    for number, (flags, words, most) in enumerate(
        (
            (("--bits=17",), "3 classes, 5 bits added to 12, codes unchanged: SHA-256", 0),
            (("--bits=12", "--max_changed_bits=2"), "3 classes, at most 2 bits of a code changed, ", 2),
        )
    ):
        printed = run(*GROW[:-1], f"--out={tmp_path / str(number)}", *flags, cwd=place)
        assert printed.startswith("200 old rows of " + words)
        grown = bundles.open_bundle(tmp_path / str(number) / "codes.drlh")
        before, after = (np.unpackbits(codes[:200], axis=1, count=12) for codes in (old, grown.codes))
        assert (before != after).sum(axis=1).max() == most
        scores = [float(each) for each in printed.splitlines()[4][13:].split()[:2]]
        assert scores[1] > scores[0]
    assert not bundles.find_faults(tmp_path / "0/codes.drlh")
    # Further bits are none at random: rows of one code have one code.
    longer = bundles.open_bundle(tmp_path / "0/codes.drlh").codes[:200]
    assert len(np.unique(longer, axis=0)) == len(np.unique(old, axis=0))


MISTAKES = {
    "fewer bits": ((*GROW, "--bits=8"), "--bits=8: the codes have 12 bits, and can only become longer"),
    "many changes": ((*GROW, "--max_changed_bits=13"), "--max_changed_bits=13: give 0 to 12, the bits of a code"),
    "something there": ((*GROW[:-1], "--out=x.drlh"), "--out=x.drlh is there already"),
    "codes of another model": ((*GROW, "--bundle=other.drlh"), "--model=run is not the model of other.drlh"),
    "another width": (
        (*GROW, "--embeddings=wide.npy"),
        "wide.npy has the shape [120, 9]; run/model reads",
    ),
    "several labels": (
        (*GROW, "--labels=two.npy"),
        "several labels a row, 0 and 1 [N, C]; those of the old",
    ),
    "fewer labels": ((*GROW, "--labels=old_labels.npy"), "new.npy has 120 rows, --labels=old_labels.npy 200"),
    "ids that are there": ((*GROW, "--ids=ids.txt"), "x.drlh has a row with the id 5 already"),
    "nothing recorded": ((*GROW, "--model=other", "--bundle=other.drlh"), "give them by --old"),
    "images of rows": ((*GROW[:3], "--images=.", GROW[-1]), "run/model was not trained on image files"),
    "no model": (("grow", "--bundle=x.drlh"), "grow needs --model=DIR"),
    "no labels": ((*GROW[:4], GROW[-1]), "--labels=FILE goes with --embeddings"),
    "old without labels": ((*GROW, "--old=old.npy"), "--old is like the new rows"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(arguments, words, place):
    there = contents(place / "grown")
    done = run_command(*arguments, *(["--out=nothing"] if "--out=grown" in arguments else []), cwd=place)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert done.stderr.startswith("drlhash_jax: ") and done.stderr.count("\n") == 1
    assert not (place / "nothing").exists() and contents(place / "grown") == there


def test_data_that_have_changed_are_refused(place, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    np.save("old.npy", np.load("old.npy") + 1)
    request = growth.Request("run", "x.drlh", "new.npy", "new_labels.npy", "nothing")
    with pytest.raises(UserError, match="the inputs that run was made of have changed since; give the rows"):
        growth.grow(request)
    Path("old.npy").unlink()
    with pytest.raises(UserError, match="old.npy: no such file.*; give the rows that the model was fitted on by --old"):
        growth.grow(request)


def test_a_growth_that_ends_early_leaves_nothing(place, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    before = contents(".")
    record, codes = grow_module.read_model(Path("run/model")), np.zeros((120, 12), np.uint8)
    learn = lambda served, known, *given: grow_module.Learnt(Codes(known.codes, codes), record, 0.0)
    monkeypatch.setattr(grow_module, "learn", learn)

    def end(folder, *given):
        assert (folder / "codes.drlh/manifest.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(grow_module, "write_known", end)
    with pytest.raises(KeyboardInterrupt):
        growth.grow(growth.Request("run", "x.drlh", "new.npy", "new_labels.npy", "nothing"))
    assert contents(".") == before and not list(Path().glob(".*"))


def photos(folder, classes):
    for name in classes:
        for number in range(10):
            path = Path(folder, name, f"{folder.name}{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3)) // (1 + len(name))
            Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.mark.exhaustive
def test_images(tmp_path):
    save_model(tmp_path / "model", "hashnet", PHOTOS, image_files=ImageSpec(12)._asdict())
    photos(tmp_path / "old", ("sea", "forest"))
    photos(tmp_path / "new", ("forest", "a"))
    run("encode", "--model=model", "--images=old", "--bundle=x.drlh", cwd=tmp_path)
    command = ("grow", "--model=model", "--bundle=x.drlh", "--images=new", "--old=old", "--out=grown")
    (tmp_path / "new/empty").mkdir()
    done = run_command(*command, cwd=tmp_path)
    assert done.returncode == 1 and "no image of class empty can be read" in done.stderr
    (tmp_path / "new/empty").rmdir()
    assert "20 new rows, 1 new class (a)" in run(*command, cwd=tmp_path)
    old, new = (bundles.open_bundle(tmp_path / name) for name in ("x.drlh", "grown/codes.drlh"))
    assert new.codes[:20].tobytes() == old.codes.tobytes() and "forest/new3.png" in new.ids()
