"""Bundles written and read: segments, ids, removed rows, compacting, and what cannot be added."""

import errno
import fcntl
import os

import numpy as np
import pytest
from bundle_makers import NUM_BITS, draw_codes, make_bundle, pack

from drlhash_jax import bundles
from drlhash_jax.errors import UserError


def test_rows_come_back(tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    bundle = bundles.open_bundle(path)
    expected = np.concatenate([draw_codes(30, seed=0), draw_codes(20, seed=1)])
    np.testing.assert_array_equal(np.unpackbits(bundle.codes, axis=1, count=NUM_BITS), expected)
    assert bundle.ids() == [f"0/{row}" for row in range(30)] + [f"1/{row}" for row in range(20)]
    assert [bundle.id_of(row) for row in (0, 29, 30, 49)] == ["0/0", "0/29", "1/0", "1/19"]
    assert [bundle.row_of(name) for name in ("0/2", "1/0", "1/1", "1/19")] == [2, 30, 31, 49]
    assert bundles.find_faults(path) == []


def test_one_segment_is_mapped(tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh", (9,)))
    assert isinstance(bundle.codes, np.memmap) and not bundle.codes.flags.writeable


def test_no_rows(tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh", ()))
    assert bundle.ids() == [] and bundle.codes.shape == (0, 2)
    distances, rows = bundle.search(draw_codes(3), 5)
    assert distances.shape == rows.shape == (3, 0)
    assert [len(near.rows) for near in bundle.within(draw_codes(3), 12)] == [0, 0, 0]
    assert bundles.bundle_facts(bundle)["rows"] == "0"
    assert bundles.compact_bundle(bundle.path) == 0 and bundles.find_faults(bundle.path) == []


def test_removed_rows_are_gone_and_compact_forgets_them(tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    whole = bundles.open_bundle(path)
    assert bundles.remove_rows(path, ["1/3", "0/0"]) == 48
    assert bundles.remove_rows(path, ["0/1"]) == 47
    bundle = bundles.open_bundle(path)
    kept = np.setdiff1d(np.arange(50), [0, 1, 33])
    np.testing.assert_array_equal(bundle.codes, whole.codes[kept])
    assert bundle.ids() == [whole.id_of(row) for row in kept]
    assert bundle.row_of("0/2") == 0 and bundle.id_of(0) == "0/2"
    with pytest.raises(UserError, match="no row with the id 0/0"):
        bundle.row_of("0/0")
    assert bundles.bundle_facts(bundle)["rows"] == "47 (3 removed)"
    # An id that was removed may come again.
    bundles.append_rows(path, pack(draw_codes(1, seed=9)), ["0/0"])
    assert bundles.open_bundle(path).row_of("0/0") == 47
    before = bundles.open_bundle(path)
    assert bundles.compact_bundle(path) == 48
    after = bundles.open_bundle(path)
    np.testing.assert_array_equal(after.codes, before.codes)
    assert after.ids() == before.ids() and bundles.find_faults(path) == []
    assert len(list(path.iterdir())) == 2
    # Lists of what was left out are kept.
    assert len((path / after.manifest.segments[0].folder / "skipped.jsonl").read_text().splitlines()) == 2


def test_all_rows_removed(tmp_path):
    path = make_bundle(tmp_path / "x.drlh", (3,))
    assert bundles.remove_rows(path, ["0/0", "0/1", "0/2"]) == 0
    assert bundles.compact_bundle(path) == 0 and bundles.open_bundle(path).ids() == []


@pytest.mark.parametrize("names", [["a", "ä", "aa", "a b", "日本/犬.jpg", "<script>", '"', "\\N", "é" * 2000]])
def test_ids_of_any_script(names, tmp_path):
    bundles.create_bundle(tmp_path / "x.drlh", NUM_BITS)
    bundles.append_rows(tmp_path / "x.drlh", pack(draw_codes(len(names))), names)
    bundle = bundles.open_bundle(tmp_path / "x.drlh")
    assert bundle.ids() == names and [bundle.row_of(name) for name in names] == list(range(len(names)))
    for name in ("b", "", "a ", "aaa"):
        with pytest.raises(UserError, match="no row"):
            bundle.row_of(name)


@pytest.mark.parametrize(
    ("codes", "ids", "words"),
    [
        (pack(draw_codes(2)), ["a"], "1 ids of 12 bits"),
        (pack(draw_codes(2, 17)), ["a", "b"], "take uint8 [2, 2]"),
        (pack(draw_codes(1)).astype(np.int64), ["a"], "are int64"),
        (np.full((1, 2), 255, np.uint8), ["a"], "row 0 has ones beyond bit 12"),
        (pack(draw_codes(2)), ["a", "a"], "a occurs twice"),
        (pack(draw_codes(2)), ["a", "0/4"], "0/4 already"),
        (pack(draw_codes(2)), ["a", ""], "row 1 cannot be used: it is empty"),
        (pack(draw_codes(1)), ["a\nb"], "control character"),
        (pack(draw_codes(1)), ["\x1b[2J"], "control character"),
        (pack(draw_codes(1)), ["\x9b2J"], "control character"),
        (pack(draw_codes(1)), ["\ud800"], "not UTF-8"),
        (pack(draw_codes(1)), ["x" * 5000], "5000 bytes"),
        (pack(draw_codes(1))[:0], [], "no rows"),
    ],
)
def test_rows_that_do_not_fit(codes, ids, words, tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    with pytest.raises(UserError) as caught:
        bundles.append_rows(path, codes, ids)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert len(bundles.open_bundle(path).ids()) == 50 and bundles.find_faults(path) == []


@pytest.mark.parametrize(
    "logits",
    [np.zeros((1, 12), np.float32), np.zeros((2, 12), np.float16), np.full((1, 12), np.nan, np.float16)],
    ids=["type", "rows", "nan"],
)
def test_logits_that_do_not_fit(logits, tmp_path):
    path = make_bundle(tmp_path / "x.drlh", (), logits=True)
    with pytest.raises(UserError, match="give finite float16"):
        bundles.append_rows(path, pack(draw_codes(1)), ["a"], logits=logits)
    assert bundles.open_bundle(path).ids() == []


def test_removing_what_is_not_there(tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    for ids, words in ((["0/1", "0/99"], "id 0/99; nothing was removed"), (["0/1", "0/1"], "occurs twice")):
        with pytest.raises(UserError, match=words):
            bundles.remove_rows(path, ids)
    assert len(bundles.open_bundle(path).ids()) == 50


def test_a_name_that_is_taken(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for name in (make_bundle(tmp_path / "x.drlh"), tmp_path / "link"):
        with pytest.raises(UserError, match="is there already"):
            bundles.create_bundle(name, 8)


def test_one_writer(tmp_path):
    path = make_bundle(tmp_path / "x.drlh")
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="being written by another process"):
        bundles.compact_bundle(path)
    os.close(descriptor)
    assert bundles.compact_bundle(path) == 50


def refuse(number):
    def call(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
@pytest.mark.parametrize("place", ["os.mkdir", "drlhash_jax.files.open", "os.fsync", "os.rename", "os.replace"])
def test_disks_that_refuse(place, number, tmp_path, monkeypatch):
    path = make_bundle(tmp_path / "x.drlh")
    calls = {
        "create": lambda: bundles.create_bundle(tmp_path / "new.drlh", 8),
        "append": lambda: bundles.append_rows(path, pack(draw_codes(1)), ["new"]),
        "remove": lambda: bundles.remove_rows(path, ["0/0"]),
        "compact": lambda: bundles.compact_bundle(path),
    }
    with monkeypatch.context() as patched:
        patched.setattr(place, refuse(number), raising=False)
        for call in calls.values():
            with pytest.raises(UserError, match=os.strerror(number)):
                call()
    assert [each.name for each in tmp_path.iterdir()] == ["x.drlh"]
    assert len(bundles.open_bundle(path).ids()) == 50 and bundles.find_faults(path) == []
    for call in calls.values():
        call()
    assert len(bundles.open_bundle(path).ids()) == 50 and len(list(path.iterdir())) == 2


def test_files_of_ids(tmp_path):
    path = tmp_path / "ids.txt"
    for content, expected in ((b"a\nb", ["a", "b"]), (b"a\r\nb c\n", ["a", "b c"]), (b"", []), (b"a\n\n", ["a", ""])):
        path.write_bytes(content)
        assert bundles.read_id_lines(path) == expected
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match="not UTF-8 text of one id a line: .* at byte 2"):
        bundles.read_id_lines(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nothing", "."):
        with pytest.raises(UserError, match="no such file of ids"):
            bundles.read_id_lines(tmp_path / name)
