"""Bundles on the command line: from a model to neighbours and files, and one line for every mistake."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import ROOT, run_command
from commands import run_well as run
from PIL import Image
from small_models import FEATURES, PHOTOS, draw_inputs, save_model

from drlhash_jax import bundles
from drlhash_jax.data import ImageSpec

COMMANDS = ("encode", "query", "inspect", "verify", "export", "remove", "compact")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models, their inputs, and a bundle of 40 embeddings."""
    folder = tmp_path_factory.mktemp("place")
    save_model(folder / "run/model")
    save_model(folder / "other", num_bits=7)
    np.save(folder / "rows.npy", draw_inputs(FEATURES, 40))
    np.save(folder / "two.npy", draw_inputs(FEATURES, 40)[:2])
    (folder / "gone.txt").write_text("3\n39\n")
    assert run("encode", "--model=run", "--embeddings=rows.npy", "--bundle=x.drlh", cwd=folder) == (
        "40 rows written: x.drlh\n"
    )
    return folder


@pytest.fixture
def bundle(place, tmp_path):
    """A copy of the bundle that may be changed."""
    subprocess.run(["cp", "-r", place / "x.drlh", tmp_path / "x.drlh"], check=True)
    (tmp_path / "gone.txt").write_text("3\n39\n")
    return tmp_path


def test_images_from_folder_to_neighbours(tmp_path):
    save_model(tmp_path / "model", spec=PHOTOS, image_files=ImageSpec(12)._asdict())
    (tmp_path / "photos/sea").mkdir(parents=True)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/sea/{number}.png")
    (tmp_path / "photos/broken.jpg").touch()
    encode = ("encode", "--model=model", "--images=photos", "--bundle=x.drlh")
    done = run_command(*encode, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "3 rows written: x.drlh\n"
    assert "left out: broken.jpg: " in done.stderr
    assert run(*encode, "--append", cwd=tmp_path) == "0 rows written: x.drlh, 3 were there already\n"
    answer = run("query", "--bundle=x.drlh", "--image=photos/sea/1.png", "--model=model", "-k=3", cwd=tmp_path)
    assert answer.startswith("3 rows near photos/sea/1.png\n      0  sea/") and answer.count("\n") == 4


def test_query_by_everything(place):
    stored = bundles.open_bundle(place / "x.drlh")
    code = np.unpackbits(stored.codes[4:5], axis=1, count=6)
    expected = bundles.ask_by_id(stored, "4", 3)
    table = run("query", "--bundle=x.drlh", "--id=4", "-k=3", cwd=place)
    lines = [f"  {distance:>5}  {name}" for name, distance in zip(expected.ids, expected.distances)]
    assert table.splitlines() == ["3 rows near 4", *lines]
    (near,) = bundles.ask(stored, ["code"], code, radius=1)
    for text in ("".join(map(str, code[0])), stored.codes[4].tobytes().hex()):
        answers = run("query", "--bundle=x.drlh", f"--code={text}", "--radius=1", "--format=json", cwd=place)
        assert json.loads(answers) == [{"query": text, "ids": near.ids, "distances": near.distances}]
    answers = run("query", "--bundle=x.drlh", "--embedding=two.npy", "--model=run", "--format=json", cwd=place)
    for row, answer in enumerate(json.loads(answers)):
        assert answer["query"] == f"row {row}" and len(answer["ids"]) == 10 and answer["distances"][0] == 0


def test_query_by_first_bits(place):
    stored = bundles.open_bundle(place / "x.drlh")
    expected = bundles.ask_by_id(stored, "4", 3, bits=2)
    query = ("query", "--bundle=x.drlh", "--format=json", "-k=3", "--bits=2")
    done = run_command(*query, "--id=4", cwd=place)
    assert json.loads(done.stdout) == [expected._asdict()] and done.returncode == 0
    assert done.stderr == (
        "drlhash_jax: --bits=2: codes of x.drlh were not trained so that their first bits are good codes\n"
    )
    codes = np.unpackbits(stored.codes, axis=1, count=6)
    code = "".join(map(str, codes[4]))
    by_code = json.loads(run(*query, f"--code={code}", cwd=place))
    by_model = json.loads(run(*query, "--embedding=two.npy", "--model=run", cwd=place))
    assert by_code == [each._asdict() for each in bundles.ask(stored, [code], codes[4:5], 3, bits=2)]
    assert by_model == [each._asdict() for each in bundles.ask(stored, ["row 0", "row 1"], codes[:2], 3, bits=2)]


def test_inspect(place):
    lines = dict(line.split(maxsplit=1) for line in run("inspect", "--bundle=x.drlh", cwd=place).splitlines())
    assert lines["rows"] == "40" and lines["bits"].startswith("6,") and lines["model"].startswith("sha256 ")


def test_codes_that_repeat_are_told_before_somebody_indexes_them(tmp_path):
    codes = np.zeros((40, 1), np.uint8)
    for name, values in (("same", 0), ("apart", np.arange(40))):
        codes[:, 0] = values
        bundles.create_bundle(tmp_path / f"{name}.drlh", 8)
        bundles.append_rows(tmp_path / f"{name}.drlh", codes, list(map(str, range(40))))
    for command in (("inspect",), ("export", "--format=faiss", "--out=out"), ("export", "--format=npy", "--out=out")):
        same, apart = (run_command(*command, f"--bundle={name}.drlh", cwd=tmp_path) for name in ("same", "apart"))
        assert (same.returncode, apart.returncode, apart.stderr) == (0, 0, "")
        expected = "" if "--format=npy" in command else "note: distinct codes are few (1, 2.5 % of 40 rows)"
        assert same.stderr.startswith(expected) and same.stderr.count("\n") == bool(expected)


def test_dedup(place):
    bundle = bundles.open_bundle(place / "x.drlh")
    groups = [[bundle.id_of(row) for row in rows] for rows in bundles.find_groups(bundle, 0)]
    printed = run("dedup", "--bundle=x.drlh", "--format=json", cwd=place)
    assert [json.loads(line)["ids"] for line in printed.splitlines()] == groups and groups
    lines = [line for ids in groups for line in (f"{len(ids)} rows", *(f"  {name}" for name in ids))]
    summary = f"{len(groups)} groups of {sum(map(len, groups))} rows within 0 bits: x.drlh"
    assert run("dedup", "--bundle=x.drlh", cwd=place).splitlines() == [*lines, summary]


def test_remove_verify_compact(bundle):
    assert run("remove", "--bundle=x.drlh", "--ids=gone.txt", cwd=bundle) == "2 rows removed, 38 left: x.drlh\n"
    assert run("compact", "--bundle=x.drlh", cwd=bundle) == "38 rows in one segment: x.drlh\n"
    assert run("verify", "--bundle=x.drlh", cwd=bundle) == "x.drlh is what was written\n"
    (file,) = (bundle / "x.drlh").glob("segment-*/codes.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 128
    file.write_bytes(content)
    done = run_command("verify", "--bundle=x.drlh", cwd=bundle)
    assert done.returncode == 1 and "/codes.npy: its SHA-256" in done.stdout
    assert done.stderr == "drlhash_jax: x.drlh has 1 fault(s): write it again from its source\n"


def test_seal(bundle):
    assert "key.public.pem, to verify" in run("seal", "--new-key=key.pem", cwd=bundle)
    assert run("seal", "--bundle=x.drlh", "--key=key.pem", cwd=bundle).startswith("seal 1 of x.drlh: ")
    verify = ("verify", "--bundle=x.drlh", "--sealed", "--public-key=key.public.pem")
    assert run(*verify, cwd=bundle).startswith("x.drlh is what was sealed, by seal 1: ")
    run("remove", "--bundle=x.drlh", "--ids=gone.txt", cwd=bundle)
    done = run_command(*verify, cwd=bundle)
    lines = [f"x.drlh changed since it was sealed: row {row} of the seal, {row}: it was removed" for row in (3, 39)]
    assert done.returncode == 1 and done.stdout.splitlines() == lines
    assert done.stderr == "drlhash_jax: x.drlh is not what was sealed: 2 fault(s)\n"


@pytest.mark.parametrize("kind", bundles.FORMATS)
def test_export(kind, place, tmp_path):
    printed = run("export", "--bundle=x.drlh", f"--format={kind}", f"--out={tmp_path / 'out'}", cwd=place)
    files = [str(tmp_path / "out" / name) for name in (*bundles.FORMATS[kind], "export.json")]
    assert [line.strip() for line in printed.splitlines()] == ["written:", *files]
    assert all(os.path.getsize(file) for file in files)


WITHOUT_JAX = {
    "query by id": ("query", "--bundle=x.drlh", "--id=1"),
    "query by code": ("query", "--bundle=x.drlh", "--code=000000"),
    "dedup": ("dedup", "--bundle=x.drlh", "--radius=1"),
    "inspect": ("inspect", "--bundle=x.drlh"),
    "verify": ("verify", "--bundle=x.drlh"),
    "seal": ("seal", "--new-key=key.pem"),
    "export": ("export", "--bundle=x.drlh", "--format=faiss", "--out=out"),
    "remove": ("remove", "--bundle=x.drlh", "--ids=gone.txt"),
    "compact": ("compact", "--bundle=x.drlh"),
}


@pytest.mark.parametrize("arguments", WITHOUT_JAX.values(), ids=WITHOUT_JAX)
def test_what_needs_no_model_loads_no_jax(arguments, bundle):
    heavy = ("jax", "flax", "rich", "PIL", "faiss", "pyarrow", "ml_collections", "filelock")
    program = (
        f"import sys\nsys.argv = ['drlhash', *{arguments!r}]\nfrom drlhash_jax import main\n"
        "try:\n    main.run()\nfinally:\n"
        f"    print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=bundle, env=environment)
    # The last line names what was loaded; before it there may be a note about codes that repeat.
    assert done.returncode == 0 and done.stdout and done.stderr.split("\n")[-2:] == ["", ""], done.stderr


MISTAKES = {
    "encode without a model": (("encode", "--bundle=y.drlh", "--images=."), "encode needs --model=DIR"),
    "encode of two things": (
        ("encode", "--model=run", "--bundle=y.drlh", "--images=.", "--embeddings=rows.npy"),
        "give one of --images=FOLDER and --embeddings=FILE",
    ),
    "encode with ids of images": (
        ("encode", "--model=run", "--bundle=y.drlh", "--images=.", "--ids=gone.txt"),
        "--ids goes with --embeddings",
    ),
    "encode onto a bundle": (
        ("encode", "--model=run", "--bundle=x.drlh", "--embeddings=rows.npy"),
        "--bundle=x.drlh is there already: give --append",
    ),
    "encode other bits": (
        ("encode", "--model=run", "--bundle=x.drlh", "--embeddings=rows.npy", "--append", "--bits=2"),
        "--bits does not go with --append",
    ),
    "encode by another model": (
        ("encode", "--model=other", "--bundle=x.drlh", "--embeddings=rows.npy", "--append", "--ids=gone.txt"),
        "--model=other is not the model of x.drlh",
    ),
    "query for two things": (("query", "--bundle=x.drlh", "--id=1", "--code=000000"), "one of --id, --code"),
    "query without a model": (("query", "--bundle=x.drlh", "--embedding=two.npy"), "--model=DIR goes with"),
    "query by another model": (
        ("query", "--bundle=x.drlh", "--embedding=two.npy", "--model=other"),
        "--model=other is not the model of x.drlh",
    ),
    "query for an order of codes": (("query", "--bundle=x.drlh", "--id=1", "--rerank=9"), "a code has no logits"),
    "query for an order without logits": (
        ("query", "--bundle=x.drlh", "--embedding=two.npy", "--model=run", "--rerank=9"),
        "--rerank: x.drlh has no logits; encode with --logits",
    ),
    "query for what is not there": (("query", "--bundle=x.drlh", "--id=99"), "no row with the id 99"),
    "query for another length": (("query", "--bundle=x.drlh", "--code=0101"), "give 6 digits 0 and 1"),
    "dedup something else": (("dedup", "--bundle=run"), "run is not a bundle of codes"),
    "dedup nothing": (("dedup",), "dedup needs --bundle"),
    "shard of two words": (
        ("encode", "--model=run", "--bundle=y.drlh", "--embeddings=rows.npy", "--shard=4/3"),
        "--shard=4/3: give i/n",
    ),
    "shard that is appended": (
        ("encode", "--model=run", "--bundle=x.drlh", "--embeddings=rows.npy", "--append", "--shard=1/3"),
        "--shard does not go with --append",
    ),
    "inspect something else": (("inspect", "--bundle=run"), "run is not a bundle of codes"),
    "inspect nothing": (("inspect",), "inspect needs --bundle"),
    "inspect a word": (("inspect", "x.drlh"), "unexpected argument x.drlh: inspect takes flags only"),
    "verify something else": (("verify", "--bundle=run"), "run has 1 fault(s)"),
    "export into a file": (("export", "--bundle=x.drlh", "--format=npy", "--out=rows.npy"), "rows.npy"),
    "export without a format": (("export", "--bundle=x.drlh", "--out=out"), "export needs"),
    "remove what is not there": (("remove", "--bundle=x.drlh", "--ids=wrong.txt"), "no row with the id 99"),
    "compact nothing": (("compact", "--bundle=nothing"), "nothing is not a bundle of codes"),
}


def test_a_killed_append_loses_its_segment_alone(bundle, place, request):
    """Commands that add 20,000 rows each are killed at any moment from their start to their end.

    Most of a command comes before it writes, so that every second kill is counted from there.
    """
    path = bundle / "x.drlh"
    np.save(bundle / "new.npy", draw_inputs(FEATURES, 20_000))
    append = ("encode", f"--model={place}/run", "--append", f"--bundle={path}", "--embeddings=new.npy", "--ids=new.txt")
    rng = np.random.default_rng(0)
    kept, kills, lasted = 40, 0, 0

    def kill_when():
        before, patience = len(os.listdir(path)), time.monotonic() + 2 * lasted
        if kills % 2:
            time.sleep(rng.uniform(0, lasted))
        else:
            while len(os.listdir(path)) == before and time.monotonic() < patience:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.05))

    while kills < (50 if request.config.getoption("--exhaustive") else 2):
        (bundle / "new.txt").write_text("".join(f"row {kept + row}\n" for row in range(20_000)))
        began = time.monotonic()
        done = run_command(*append, cwd=bundle, kill_when=kill_when if lasted else None)
        found = [part.rows for part in bundles.open_bundle(path).manifest.segments]
        assert bundles.find_faults(path) == [] and set(found[1:]) <= {20_000}
        if done.returncode == 0:
            lasted = lasted or time.monotonic() - began
            assert done.stdout == f"20000 rows written: {path}\n" and sum(found) == kept + 20_000
        else:
            assert done.returncode == -9 and sum(found) in (kept, kept + 20_000), done
            kills += 1
        kept = sum(found)
    assert len(bundles.open_bundle(path).ids()) == kept


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(arguments, words, place):
    (place / "wrong.txt").write_text("1\n99\n")
    before = sorted(place.rglob("*"))
    done = run_command(*arguments, cwd=place)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert done.stderr.startswith("drlhash_jax: ") and done.stderr.count("\n") == 1
    assert sorted(place.rglob("*")) == before
