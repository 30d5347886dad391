"""Text lists, CSV and JSON lines: what they mean, and every line that is wrong is named."""

import json
import time

import numpy as np
import pytest

from drlhash_jax.data import load_dataset, make_split
from drlhash_jax.data.lists import _split_hash_line, inner_name, read_csv, read_hash_list, read_jsonl
from drlhash_jax.data.protocols import PROTOCOLS
from drlhash_jax.errors import UserError


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def refused(read, path, *words):
    with pytest.raises(UserError) as caught:
        read(path)
    assert all(word in str(caught.value) for word in words), caught.value


def test_hash_list(tmp_path):
    path = written(tmp_path / "train.txt", "images/a.jpg 0 1 1\n./images//b c 2.jpg 0 0 0 \r\nd\\e.jpg\t1 0 0\n")
    names, labels, _ = read_hash_list(path)
    assert names == ["images/a.jpg", "images/b c 2.jpg", "d/e.jpg"]
    # Rows without any label exist in HashNet's lists and stay.
    assert labels.dtype == np.uint8 and labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("a.jpg 0 1\nb.jpg 0 1 0\n", ["line 2", "3 label columns", "line 1 has 2"]),
        ("a.jpg 0 1\nb.jpg\n", ["line 2", "expected a path"]),
        ("a.jpg 0 1\n\nb.jpg 1 0\n", ["line 2", "expected a path"]),
        ("a.jpg 0 1\nb.jpg 0 2\n", ["line 2", "column 2", "'2'"]),
        ("a.jpg 0 -1\n", ["line 1", "'-1'"]),
        ("a.jpg 0 1\nb.jpg 0 1\n./a.jpg 1 0\n", ["a.jpg", "line 1", "line 3"]),
        ("/etc/passwd 0 1\n", ["line 1", "/etc/passwd", "relative"]),
        ("a/../../b.jpg 0 1\n", ["line 1", "inside"]),
        ("C:\\b.jpg 0 1\n", ["line 1", "relative"]),
    ],
)
def test_wrong_hash_lists(tmp_path, text, words):
    refused(read_hash_list, written(tmp_path / "train.txt", text), "train.txt", *words)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b 0 c 1 0", ("a b 0 c", ["1", "0"])),
        ("a 10 1 0", ("a", ["10", "1", "0"])),
        ("1 0 1", ("1", ["0", "1"])),
        ("a 1x 0", ("a 1x", ["0"])),
        ("a  0\t-1  ", ("a", ["0", "-1"])),
        ("a", None),
        ("a 1.0", None),
        ("0", None),
        (" a 0", None),
        ("", None),
        ("  ", None),
    ],
)
def test_where_a_path_ends(line, expected):
    assert _split_hash_line(line) == expected


@pytest.mark.parametrize("end", ["", " x", " 2"])
def test_long_lines_take_no_time(tmp_path, end):
    path = written(tmp_path / "train.txt", "a.jpg" + " 0" * 200_000 + " 1" + end + "\n")
    began = time.perf_counter()
    if end:
        refused(read_hash_list, path, "line 1")
    else:
        assert read_hash_list(path).labels.shape == (1, 200_001)
    assert time.perf_counter() - began < 5


def test_class_words_of_thousands_of_digits(tmp_path):
    digits = "9" * 5_000
    path = written(tmp_path / "mine.csv", f"path,label\na,{digits}\nb,7\n")
    assert read_csv(path).classes == ("7", digits)


def test_files_that_are_no_text(tmp_path):
    refused(read_hash_list, tmp_path / "train.txt", "train.txt", "no such file")
    (tmp_path / "train.txt").write_bytes(b"a.jpg \xff\xfe 0 1")
    refused(read_hash_list, tmp_path / "train.txt", "UTF-8", "byte 6")


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "\\\\host\\a", "c:/a", "", ".", "a\0b"])
def test_names_that_lead_out(name):
    with pytest.raises(UserError, match="line 3"):
        inner_name(name, "line 3")


@pytest.fixture
def papers(tmp_path, write_image):
    """A folder of lists as papers publish them, with images; one training row has no label."""
    for number in range(8):
        write_image(tmp_path / f"images/{number}.bmp", 10 * number)
    rows = ["1 0", "0 1", "1 1", "0 0", "1 0", "0 1", "1 0", "0 1"]
    line = lambda number: f"images/{number}.bmp {rows[number]}\n"
    for part, numbers in {"test": (6, 7), "train": (0, 3), "database": (5, 4, 2, 1, 0)}.items():
        (tmp_path / f"{part}.txt").write_text("".join(map(line, numbers)))
    return tmp_path


def load(papers, **changes):
    return load_dataset("lists", str(papers), **{"image_size": 4, "max_skipped": 0.5} | changes)


def test_lists_as_papers_publish_them(papers):
    out = load(papers)
    assert out.name == papers.name
    # The database in its order, then the training row that it lacks, then the queries.
    assert out.paths == tuple(f"images/{number}.bmp" for number in (5, 4, 2, 1, 0, 3, 6, 7))
    assert out.inputs[:, 0, 0, 0].tolist() == [50, 40, 20, 10, 0, 30, 60, 70]
    split = make_split(out, "lists", PROTOCOLS["lists"], 0)
    assert (split.query.tolist(), split.train.tolist(), split.database.tolist()) == ([6, 7], [4, 5], [0, 1, 2, 3, 4])
    assert out.labels[split.query].tolist() == [[1, 0], [0, 1]] and out.labels[5].tolist() == [0, 0]


def test_file_that_a_list_names_and_is_missing(papers):
    (papers / "images/1.bmp").unlink()
    out = load(papers)
    assert [tuple(each) for each in out.skipped] == [("images/1.bmp", "no such file")]
    split = make_split(out, "lists", PROTOCOLS["lists"], 0)
    assert [out.paths[row] for row in split.database] == [f"images/{number}.bmp" for number in (5, 4, 2, 0)]
    with pytest.raises(UserError, match="1 of 8 image files.*images/1.bmp: no such file"):
        load(papers, max_skipped=0.05)


def test_published_names_need_their_counts(papers):
    (papers / "images/1.bmp").unlink()
    with pytest.raises(UserError, match=r"CO.*1 files left out, first images/1.bmp.*query 2, not 5000.*classes 2"):
        make_split(load(papers), "CO", PROTOCOLS["CO"], 0)


def test_leaking_lists_are_refused(papers):
    with open(papers / "database.txt", "a") as file:
        file.write("images/7.bmp 0 1\n")
    with pytest.raises(UserError, match="queries are also database rows"):
        make_split(load(papers), "lists", PROTOCOLS["lists"], 0)


def test_lists_that_contradict_each_other(papers):
    written(papers / "train.txt", "images/0.bmp 0 1\n")
    refused(load, papers, "train.txt", "images/0.bmp", "other labels")
    written(papers / "train.txt", "images/0.bmp 1 0 0\n")
    refused(load, papers, "train.txt", "3 label columns", "2")
    (papers / "train.txt").unlink()
    refused(load, papers, "train.txt", "no such file")


def test_links_out_of_the_folder(papers, tmp_path_factory, write_image):
    outside = write_image(tmp_path_factory.mktemp("outside") / "a.bmp")
    (papers / "images/1.bmp").unlink()
    (papers / "images/1.bmp").symlink_to(outside)
    refused(load, papers, "images/1.bmp", "leads out")


def test_csv_of_one_label(tmp_path, write_image):
    for name in "abc":
        write_image(tmp_path / f"{name}.png")
    # A byte order mark, quotes and Windows line ends, as spreadsheets write them.
    path = written(tmp_path / "mine.csv", '\ufeffpath,label\r\na.png,dog\r\n"b.png","cat, grey"\r\nc.png,dog\r\n')
    out = load_dataset("csv", str(path), image_size=4)
    assert out.name == "mine" and out.paths == ("a.png", "b.png", "c.png")
    assert out.classes == ("cat, grey", "dog") and out.labels.tolist() == [1, 0, 1]


def test_csv_numbers_are_ordered_as_numbers(tmp_path):
    path = written(tmp_path / "mine.csv", "path,label\na,10\nb,9\nc,10\n")
    assert read_csv(path).classes == ("9", "10") and read_csv(path).labels.tolist() == [1, 0, 1]


def test_csv_of_tags(tmp_path):
    path = written(tmp_path / "mine.csv", "path,sea,sky\n\na.png,1,0\nb.png,1,1\nc.png,0,0\n")
    names, labels, classes = read_csv(path)
    assert names == ["a.png", "b.png", "c.png"] and classes == ("sea", "sky")
    assert labels.tolist() == [[1, 0], [1, 1], [0, 0]] and labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["line 1", "header"]),
        ("a.png,dog\nb.png,cat\n", ["line 1", "header", "a.png,dog"]),
        ("path,sea,sea\n", ["line 1", "header"]),
        ("path,label\n", ["no rows"]),
        ("path,sea,sky\na.png,1,0\nb.png,1\n", ["line 3", "2 columns", "header has 3"]),
        ("path,label\na.png,dog,cat\n", ["line 2", "3 columns"]),
        ("path,label\na.png,\n", ["line 2", "empty"]),
        ("path,sea,sky\na.png,1,yes\n", ["line 2", "column 2", "'yes'"]),
        ("path,label\na.png,dog\n\na.png,cat\n", ["a.png", "line 2", "line 4"]),
        ("path,label\n../a.png,dog\n", ["line 2", "../a.png"]),
        ('path,label\n"a.png"x,dog\n', ["line 2"]),
    ],
)
def test_wrong_csv(tmp_path, text, words):
    refused(read_csv, written(tmp_path / "mine.csv", text), "mine.csv", *words)


def test_jsonl(tmp_path, write_image):
    for name in "abc":
        write_image(tmp_path / f"{name}.png")
    rows = [("a.png", ["sky", "sea"]), ("b.png", []), ("c.png", ["sea"])]
    lines = [json.dumps({"path": path, "labels": labels, "width": 3}) for path, labels in rows]
    path = written(tmp_path / "mine.jsonl", "\n".join([*lines, ""]))
    out = load_dataset("jsonl", str(path), image_size=4)
    assert out.classes == ("sea", "sky") and out.labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert out.paths == ("a.png", "b.png", "c.png")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("not json", ["expected", "not json"]),
        ('{"path": "a.png"}', ["expected"]),
        ("[1, 2]", ["expected"]),
        ('{"path": 3, "labels": []}', ["path must be text"]),
        ('{"path": "a.png", "labels": "sea"}', ["labels a list"]),
        ('{"path": "a.png", "labels": [true]}', ["words or whole numbers"]),
        ('{"path": "a.png", "labels": [["sea"]]}', ["words or whole numbers"]),
        ('{"path": "/a.png", "labels": []}', ["relative"]),
        ('{"path": "ok.png", "labels": []}', ["ok.png", "line 1"]),
        ("[" * 100_000, ["expected"]),
    ],
)
def test_wrong_jsonl(tmp_path, line, words):
    path = written(tmp_path / "mine.jsonl", f'{{"path": "ok.png", "labels": ["sea"]}}\n{line}\n')
    refused(read_jsonl, path, "mine.jsonl", "line 2", *words)


def test_sources_need_a_path():
    for source in ("lists", "csv", "jsonl"):
        refused(lambda source: load_dataset(source), source, "data.path")


def write_list(path, names, labels):
    rows = [f"images/{name.decode()} {' '.join(map(str, row))}\n" for name, row in zip(names, labels.tolist())]
    path.write_text("".join(rows))


@pytest.mark.parametrize(("protocol", "key"), [("N-81m", "hashnet81"), ("N-21-list", "tc21"), ("N-21m", "tc21m")])
def test_published_nuswide_lists(shared_data, tmp_path, monkeypatch, protocol, key):
    """The published query and training lists, row by row; the database around them has made-up names."""
    with np.load(shared_data / "nuswide_labels.npz", allow_pickle=False) as arrays:
        test, train = ((arrays[f"names_{key}_{part}"], arrays[f"labels_{key}_{part}"]) for part in ("test", "train"))
    inside = train[1].any(axis=1)
    size = {"N-81m": 168_692, "N-21-list": 193_734, "N-21m": 20_000}[protocol]
    fillers = size - inside.sum()
    names = np.concatenate([train[0][inside], np.array([b"%d" % number for number in range(fillers)])])
    labels = np.concatenate([train[1][inside], np.resize(test[1], (fillers, test[1].shape[1]))])
    for part, rows in {"test": test, "train": train, "database": (names, labels)}.items():
        write_list(tmp_path / f"{part}.txt", *rows)
    # Labels and splits are what counts here: no image is opened.
    monkeypatch.setattr("drlhash_jax.data.lists.check_inside", lambda *args: None)
    monkeypatch.setattr("drlhash_jax.data.image_store._try_decode", lambda path, spec: np.zeros((1, 1, 3), np.uint8))
    out = load_dataset("lists", str(tmp_path), image_size=1)
    split = make_split(out, protocol, PROTOCOLS[protocol], 0)
    assert (len(split.query), len(split.train), len(split.database)) == (len(test[0]), len(train[0]), size)
    for rows, (names, labels) in ((split.query, test), (split.train, train)):
        assert [out.paths[row] for row in rows] == [f"images/{name.decode()}" for name in names]
        np.testing.assert_array_equal(out.labels[rows], labels)
    unlabelled = {"N-81m": 2_185}.get(protocol, 0)
    assert (~out.labels[split.train].any(axis=1)).sum() == unlabelled
