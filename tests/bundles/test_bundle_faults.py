"""Bundles after kills, bit rot and bad intentions: a kill loses one step at most, and all else is found and named."""

import concurrent.futures
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mutants
import numpy as np
import pytest
from bundle_makers import make_bundle, plant, sign

from drlhash_jax import bundles
from drlhash_jax.errors import UserError

APPENDER = Path(__file__).parent / "appender.py"
# Every step that changes the file system is one at which the child ends, until it comes through.
KILLER = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from bundle_makers import draw_codes, make_bundle, pack
from drlhash_jax import bundles
STEPS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
ACTIONS = {{
    "create": (lambda: bundles.create_bundle("new.drlh", 8), 0),
    "append": (lambda: bundles.append_rows("x.drlh", pack(draw_codes(20, seed=5)), [f"n{{i}}" for i in range(20)]), 20),
    "remove": (lambda: bundles.remove_rows("x.drlh", ["0/0", "1/0"]), -2),
    "compact": (lambda: bundles.compact_bundle("x.drlh"), 0),
}}

def kill_at(step):
    left = [step]
    def count():
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
    def hook(event, arguments):
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in STEPS or writes:
            count()
    sys.addaudithook(hook)
    os.fsync = lambda descriptor: count()

def rows(path):
    assert bundles.find_faults(path) == [], bundles.find_faults(path)
    return len(bundles.open_bundle(path).ids())

# Processes are killed here, not the machine: what was written is there without it.
os.fsync = lambda descriptor: None
make_bundle(Path("first.drlh"))
bundles.remove_rows("first.drlh", ["0/7"])
for name, (action, change) in ACTIONS.items():
    seen = set()
    for step in range(1000):
        shutil.rmtree("new.drlh", ignore_errors=True)
        shutil.rmtree("x.drlh", ignore_errors=True)
        shutil.copytree("first.drlh", "x.drlh")
        child = os.fork()
        if not child:
            kill_at(step)
            action()
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seen.add(rows("x.drlh"))
        assert not os.path.exists("new.drlh") or rows("new.drlh") == 0
        if code == 0:
            break
        assert code == 9
        # The next writer takes the rests away.
        bundles.append_rows("x.drlh", pack(draw_codes(1)), ["later"])
        names = {{part.folder for part in bundles.open_bundle("x.drlh").manifest.parts}}
        assert set(os.listdir("x.drlh")) == names | {{"manifest.json"}}, os.listdir("x.drlh")
    assert seen == {{49, 49 + change}}, (name, seen)
    print(name, step)
"""


def test_a_kill_at_any_step_loses_that_step_alone(tmp_path):
    program = KILLER.format(here=str(Path(__file__).parent))
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = dict(line.split() for line in done.stdout.splitlines())
    assert list(steps) == ["create", "append", "remove", "compact"] and int(steps["append"]) > 12


def how_many(request, few, many):
    """Cases of a test: few, or by --exhaustive many."""
    return many if request.config.getoption("--exhaustive") else few


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_every_flipped_bit_is_found_and_its_file_named(tmp_path, request):
    path = make_bundle(tmp_path / "x.drlh")
    bundles.remove_rows(path, ["0/3"])
    files = [each for each in sorted(path.rglob("*")) if each.is_file()]
    assert len(files) == 10
    rng = np.random.default_rng(0)
    for number in range(how_many(request, 200, 1_000)):
        file = files[number % len(files)]
        bit = int(rng.integers(8 * file.stat().st_size))
        flip(file, bit)
        faults = bundles.find_faults(path)
        assert len(faults) == 1 and str(file) in faults[0] and "\n" not in faults[0], (file, bit, faults)
        flip(file, bit)
    assert bundles.find_faults(path) == []


def test_all_faults_are_told(tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    flip(path / "segment-000001/codes.npy", 1100)
    (path / "segment-000002/ids.npy").unlink()
    (path / "segment-000002/skipped.jsonl").write_text("")
    faults = bundles.find_faults(path)
    assert len(faults) == 3 and all("damaged" in fault for fault in faults)
    with pytest.raises(UserError, match="segment-000001/codes.npy"):
        shutil.rmtree(path / "segment-000002")
        bundles.compact_bundle(path)


def set_field(*places):
    *keys, last, new = places

    def edit(value):
        for key in keys:
            value = value[key]
        value[last] = new

    return edit


SIGNED = {
    "number that is a path": (set_field("segments", 0, "number", "../../etc"), "number is '../../etc'"),
    "number below 1": (set_field("segments", 0, "number", -1), "number is '-1'"),
    "number that is true": (set_field("segments", 0, "number", True), "number is 'True'"),
    "number twice": (set_field("segments", 0, "number", 2), "same number"),
    "number of no folder": (set_field("segments", 0, "number", 7), "segment-000007"),
    "rows that are not there": (set_field("segments", 0, "rows", 10**12), "holds uint8 [30, 2]"),
    "rows beyond belief": (set_field("segments", 0, "rows", 10**30), "rows is"),
    "no rows": (set_field("segments", 0, "rows", 0), "rows is '0'"),
    "file that is a path": (set_field("segments", 0, "files", "../../x", {"bytes": 1, "sha256": "0" * 64}), "../../x"),
    "file without a digest": (set_field("segments", 0, "files", "codes.npy", "sha256", "x"), "no digest"),
    "huge file": (set_field("segments", 0, "files", "codes.npy", "bytes", 2**61), "has 188 bytes"),
    "size of text": (set_field("segments", 0, "files", "codes.npy", "bytes", "9"), "bytes of codes.npy"),
    "files of a list": (set_field("segments", 0, "files", []), "damaged"),
    "no codes": (lambda value: value["segments"][0]["files"].pop("codes.npy"), "without codes.npy"),
    "segments of a number": (set_field("segments", 3), "damaged"),
    "removed of text": (set_field("removed", "all"), "damaged"),
    "logits of one segment": (
        set_field("segments", 0, "files", "logits.npy", {"bytes": 9, "sha256": "0" * 64}),
        "logits does not say",
    ),
    "logits of none": (set_field("logits", True), "logits does not say"),
    "logits of text": (set_field("logits", "no"), "logits is 'no'"),
    "no bits": (set_field("bits", 0), "bits is '0'"),
    "other bits": (set_field("bits", 20), "not uint8 [30, 3]"),
    "fewer bits": (set_field("bits", 9), "ones beyond bit 9"),
    "huge bits": (set_field("bits", 10**9), "bits is"),
    "bits of a fraction": (set_field("bits", 12.0), "bits is '12.0'"),
    "bit order": (set_field("bit_order", "lsb"), "bit_order must be msb"),
    "role": (set_field("role", "both"), "role is 'both'"),
    "model": (set_field("model", {"sha256": 3}), "model has no sha256"),
    "model of text": (set_field("model", "vgg"), "damaged"),
    "format": (set_field("format", 2), "format is 2"),
    "one field more": (set_field("path", "/etc"), "its fields are"),
}


def refused(path, *words):
    """Opening and verifying both end in one line with these words."""
    with pytest.raises(UserError) as caught:
        bundles.open_bundle(path)
    faults = bundles.find_faults(path)
    assert faults and all("\n" not in fault and len(fault) < 700 for fault in faults)
    for message in (str(caught.value), "; ".join(faults)):
        assert all(word in message for word in words), message


@pytest.mark.parametrize(("edit", "words"), SIGNED.values(), ids=SIGNED)
def test_hostile_manifests(edit, words, tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    sign(path, edit)
    with pytest.raises(UserError) as caught:
        bundles.open_bundle(path)
    assert words in str(caught.value) and str(path) in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert bundles.find_faults(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"format": ' + b"9" * 10_000 + b"}",
        b'{"format": NaN}',
        b" " * (17 * 2**20),
    ],
    ids=["empty", "list", "null", "object", "bytes", "deep", "digits", "nan", "large"],
)
def test_no_manifests(content, tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    (path / "manifest.json").write_bytes(content)
    refused(path, str(path / "manifest.json"))


def test_a_manifest_that_was_edited(tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    text = (path / "manifest.json").read_text()
    for changed in (text.replace('"bits": 12', '"bits": 11'), text.replace("\n", ""), text + "\n"):
        assert json.loads(changed)
        (path / "manifest.json").write_text(changed)
        refused(path, "damaged or was edited")


ARRAYS = {
    "codes of another type": ("codes.npy", np.zeros((30, 2), np.int16), "int16"),
    "codes of one axis": ("codes.npy", np.zeros(60, np.uint8), "[60]"),
    "codes by columns": ("codes.npy", np.asfortranarray(np.zeros((30, 2), np.uint8)), "codes.npy"),
    "codes of objects": ("codes.npy", np.array([[{}]] * 30), "never unpickled"),
    "padding": ("codes.npy", np.full((30, 2), 255, np.uint8), "ones beyond bit 12"),
    "no array": ("codes.npy", b"hello", "not a .npy array"),
    "offsets that go down": ("id_offsets.npy", np.arange(31)[::-1].copy(), "does not divide"),
    "offsets beyond": ("id_offsets.npy", np.arange(31) * 10**15, "does not divide"),
    "offsets of another type": ("id_offsets.npy", np.arange(31.0), "float64"),
    "ids of another type": ("ids.npy", np.arange(60.0), "float64"),
}


@pytest.mark.parametrize(("name", "content", "words"), ARRAYS.values(), ids=ARRAYS)
def test_hostile_arrays(name, content, words, tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    plant(path, "segment-000001", name, content)
    refused(path, f"segment-000001/{name}", words)


@pytest.mark.parametrize("rows", [[-1], [50], [3, 3], [4, 3]])
def test_hostile_lists_of_removed_rows(rows, tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    bundles.remove_rows(path, [f"0/{row}" for row in range(len(rows))])
    plant(path, "removed-000003", "rows.npy", np.array(rows))
    refused(path, "rows.npy does not list rows in order")


@pytest.mark.parametrize(
    ("text", "words"), [(b"\xff" * 30, "not UTF-8"), (b"\x1b" * 30, "control character"), (b"a" * 30, "twice")]
)
def test_hostile_ids_are_never_shown(text, words, tmp_path):
    path = make_bundle(tmp_path / "x.drlh", (30,))
    plant(path, "segment-000001", "ids.npy", np.frombuffer(text, np.uint8))
    plant(path, "segment-000001", "id_offsets.npy", np.arange(31))
    assert len(bundles.find_faults(path)) == 1 and words in bundles.find_faults(path)[0]
    if words != "twice":
        with pytest.raises(UserError, match=words):
            bundles.open_bundle(path).id_of(4)


def test_what_is_no_plain_file(tmp_path):
    original = make_bundle(tmp_path / "original.drlh")
    for number, name in enumerate(("manifest.json", "segment-000001/codes.npy", "segment-000001")):
        for kind in ("link", "pipe", "folder"):
            path = tmp_path / f"{kind}{number}.drlh"
            shutil.copytree(original, path)
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            else:
                (path / name).unlink()
            if kind == "link":
                (path / name).symlink_to(original / name)
            elif kind == "pipe":
                os.mkfifo(path / name)
            else:
                (path / name).mkdir()
            refused(path, str(path / name))


@pytest.mark.parametrize("name", ["nothing", "file", "empty", "a\0b", "x" * 300])
def test_what_is_no_bundle(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        bundles.open_bundle(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(bundles.find_faults(tmp_path / name)) == 1


@pytest.mark.parametrize(("use", "few", "many"), [("use_bundles", 150, 7_000), ("decode_images", 60, 3_000)])
def test_mutants_are_used_or_refused_in_one_line(use, few, many, tmp_path, request):
    # A process that crashes, or takes too much, breaks the pool.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcomes = pool.submit(getattr(mutants, use), str(tmp_path), 0, how_many(request, few, many)).result()
    # Ids and lists of what was left out may hold anything that is signed for.
    assert min(outcomes.values()) > 5, outcomes


def test_killed_while_it_appends_only_the_segment_in_progress_is_lost(tmp_path, request):
    """A child appends one segment after the other, and is killed at any moment; another goes on where it was."""
    make_bundle(tmp_path / "x.drlh", (30,))
    rng = np.random.default_rng(0)
    for number in range(how_many(request, 3, 50)):
        child = subprocess.Popen([sys.executable, str(APPENDER), "x.drlh"], cwd=tmp_path, stdout=subprocess.PIPE)
        # What the child has said it has written is there.
        said = child.stdout.readline()
        time.sleep(float(rng.uniform(0.0, 0.05)))
        child.kill()
        rest = child.communicate()[0]
        promised = int((rest or said).split()[-1])
        assert bundles.find_faults(tmp_path / "x.drlh") == []
        found = len(bundles.open_bundle(tmp_path / "x.drlh").ids())
        assert promised <= found <= promised + 20, (number, promised, found)
