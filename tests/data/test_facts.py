"""What is said about data, and digests that change when data do."""

import hashlib
import tracemalloc

import numpy as np
import pytest

from drlhash_jax.data import Dataset, input_digest, load_dataset, notices
from drlhash_jax.data.dataset import check_dataset
from drlhash_jax.data.digests import array_digest
from drlhash_jax.data.images import Skipped
from drlhash_jax.data.row_view import RowView

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 0, 1], np.int32)
MINE = Dataset("mine", FEATURES, LABELS)


def test_nothing_to_say():
    assert notices(MINE) == []


def test_unlabelled_rows():
    (line,) = notices(check_dataset(MINE._replace(labels=np.array([0, -1, 1, -3]))))
    assert line == ("2 of 4 rows have no label (their class number is negative): no row counts as relevant to them.")
    (line,) = notices(MINE._replace(labels=np.array([[1, 0], [0, 1], [0, 0], [1, 1]], np.uint8)))
    assert line.startswith("1 of 4 rows have no label (all their flags are 0)")


def test_files_that_were_left_out():
    skipped = (Skipped("a.jpg", "no such file"), Skipped("b.jpg", "hidden name"))
    assert notices(MINE._replace(skipped=skipped[:1])) == [
        "1 file was left out: a.jpg (no such file); see skipped.jsonl."
    ]
    assert notices(MINE._replace(skipped=skipped)) == [
        "2 files were left out, the first: a.jpg (no such file); see skipped.jsonl."
    ]


def test_classes_without_rows():
    named = MINE._replace(labels=np.array([0, 2, 0, 2], np.int32), classes=("ant", "bee", "cat", "dog"))
    assert notices(named) == ["2 of 4 classes have no rows: bee, dog."]
    flags = MINE._replace(labels=np.array([[1, 0, 0], [0, 0, 1]] * 2, np.uint8))
    assert notices(flags) == ["1 class has no rows: column 2."]


def test_digest_is_that_of_the_documented_bytes():
    expected = hashlib.sha256(FEATURES.astype("<f4").tobytes() + b'["<f4", [4, 3]]').hexdigest()
    assert array_digest(FEATURES) == expected
    digests = input_digest(MINE._replace(lists={"CO": (LABELS, LABELS, LABELS)}))
    assert list(digests) == ["inputs", "labels", "lists/CO"] and digests["inputs"] == expected
    assert digests["labels"] == hashlib.sha256(LABELS.tobytes() + b'["<i4", [4]]').hexdigest()
    assert list(input_digest(MINE._replace(inputs=None))) == ["labels"]


def test_digests_see_values_types_shapes_and_order():
    others = [FEATURES.astype(np.float16), FEATURES.reshape(3, 4), FEATURES[::-1], FEATURES + 1, FEATURES[:3]]
    assert len({array_digest(each) for each in (FEATURES, *others)}) == 6
    lists = [{"CO": parts} for parts in ((LABELS, LABELS[:1], LABELS), (LABELS[:1], LABELS, LABELS))]
    assert len({input_digest(MINE._replace(lists=each))["lists/CO"] for each in lists}) == 2


def test_digests_do_not_see_how_an_array_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr("drlhash_jax.data.row_view._PIECE_BYTES", 13)
    np.save(tmp_path / "x.npy", np.asfortranarray(FEATURES))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    same = [mapped, RowView(mapped, np.arange(4)), FEATURES.astype(">f4"), np.repeat(FEATURES, 2, axis=1)[:, ::2]]
    assert {array_digest(each) for each in same} == {array_digest(FEATURES)}


def test_digest_of_pixels_is_the_same_from_memory_and_cache(tmp_path, write_image):
    for number, name in enumerate(("dog/a.png", "dog/b.png", "cat/c.png")):
        write_image(tmp_path / "photos" / name, 10 * number)
    load = lambda **changes: input_digest(load_dataset("folder", str(tmp_path / "photos"), image_size=4, **changes))
    cache = str(tmp_path / "pixels.npy")
    memory, written, read = load(), load(cache=cache), load(cache=cache)
    assert memory == written == read
    # The same names, sizes and dates do not hide another picture.
    write_image(tmp_path / "photos/dog/a.png", 200)
    assert load()["inputs"] == load(cache=cache)["inputs"] != memory["inputs"]
    assert load()["labels"] == memory["labels"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_mapped_features_are_checked_within_little_memory(tmp_path, dtype, monkeypatch):
    """40 MB of features are loaded, checked and hashed within a few megabytes, and stay as they are stored."""
    monkeypatch.setattr("drlhash_jax.data.row_view._PIECE_BYTES", 2**20)
    rows = 40 * 2**20 // 1280 // np.dtype(dtype).itemsize
    features = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, (rows, 1280))
    features.flush()
    np.save(tmp_path / "y.npy", np.arange(rows) % 10)
    tracemalloc.start()
    out = load_dataset("embeddings", str(tmp_path / "x.npy"), labels_path=str(tmp_path / "y.npy"))
    input_digest(out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(out.inputs, np.memmap) and out.inputs.dtype == dtype
    assert peak < 8 * 2**20
