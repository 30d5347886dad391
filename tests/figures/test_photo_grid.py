"""Figures of images: the choice of examples, marks that do without colour, and what the CSV says."""

import csv

import numpy as np
import pytest

from drlhash_jax.figures import Retrieval, choose_examples, plot_retrievals

# Distances of query 0 to the four rows: 0, 1, 2, 3; of query 1: 3, 2, 1, 0; of query 2: 1, 0, 1, 2.
DATABASE = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]])
QUERIES = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 1]])


def test_golden_choice():
    relevant = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
    # Of the two nearest rows query 0 has one right (rows 0, 1), query 1 both (3, 2), query 2 none (1 and, before the
    # equally near row 2, row 0).
    good, bad = choose_examples(QUERIES, DATABASE, relevant, 1, 1, top=2)
    assert (good.query, good.found.tolist(), good.distances.tolist(), good.good) == (1, [3, 2], [0, 1], True)
    assert (bad.query, bad.found.tolist(), bad.distances.tolist(), bad.good) == (2, [1, 0], [0, 1], False)
    # Row 2 is as near to query 2 as row 0 is; nothing else is as near to query 1 as row 2.
    assert (good.equally_near, bad.equally_near) == (0, 1)
    # In order of hits, then of queries.
    assert [query for query, *_ in choose_examples(QUERIES, DATABASE, relevant, 3, 0, top=2)] == [1, 0, 2]
    assert [query for query, *_ in choose_examples(QUERIES, DATABASE, relevant, 0, 3, top=2)] == [2, 0, 1]


def test_queries_that_have_nothing_to_find_are_no_bad_examples():
    relevant = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
    (bad,) = choose_examples(QUERIES, DATABASE, relevant, 0, 1, top=2)
    assert bad.query == 0
    with pytest.raises(ValueError, match="2 good and 1 bad examples of 2 rows need more than 2 queries"):
        choose_examples(QUERIES, DATABASE, relevant, 2, 1, top=2)
    with pytest.raises(ValueError, match="and 4 rows"):
        choose_examples(QUERIES, DATABASE, relevant, 1, 0, top=5)
    with pytest.raises(ValueError, match=r"relevant is \[3, 3\], but there are 3 queries and 4 rows"):
        choose_examples(QUERIES, DATABASE, relevant[:, :3], 1, 0, top=2)


@pytest.mark.parametrize("seed", range(3))
def test_choice_against_sorted_tuples(seed):
    rng = np.random.default_rng(seed)
    queries, database = rng.integers(0, 2, (6, 5)), rng.integers(0, 2, (20, 5))
    relevant = rng.random((6, 20)) < 0.3
    hits = []
    for query, code in enumerate(queries):
        ranked = sorted(range(20), key=lambda row: (sum(a != b for a, b in zip(code, database[row])), row))
        hits.append((sum(relevant[query, row] for row in ranked[:5]), query, ranked[:5]))
    expected = sorted(hits, key=lambda each: (-each[0], each[1]))[:2] + sorted(hits)[:2]
    chosen = choose_examples(queries, database, relevant, 2, 2)
    assert [(query, rows.tolist()) for query, rows, *_ in chosen] == [(query, rows) for _, query, rows in expected]


def image(level, shape=(6, 8, 3)):
    return np.full(shape, level, np.uint8)


def example(title="MS-COCO\ngood", relevant=(True, False), equally_near=0):
    names = ["q.jpg", "a.jpg", "b.jpg"]
    return Retrieval(title, image(10), [image(20), image(30, (5, 5, 1))], relevant, [0, 4], names, equally_near)


def test_retrievals(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    signs = []
    draw = Figure.savefig

    def keep(self, *args, **kwargs):
        signs[:] = [[text.get_text() for text in axes.texts] for axes in self.axes]
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    examples = [example(), example("MS-COCO\nbad", (False, False), 1234)]
    paths = plot_retrievals(tmp_path / "grid", examples)
    # Signs, not colours alone: the query has none. Beyond the last column, what is as near as it.
    assert signs == [[], ["✓"], ["✗"], [], [], ["✗"], ["✗"], ["1,234 more\nat distance 4"]]
    with open(paths.csv, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["row", "query", "rank", "found", "distance", "relevant", "more at this distance"],
        ["MS-COCO\ngood", "q.jpg", "1", "a.jpg", "0", "1", "0"],
        ["MS-COCO\ngood", "q.jpg", "2", "b.jpg", "4", "0", "0"],
        ["MS-COCO\nbad", "q.jpg", "1", "a.jpg", "0", "0", "0"],
        ["MS-COCO\nbad", "q.jpg", "2", "b.jpg", "4", "0", "1234"],
    ]
    again = plot_retrievals(tmp_path / "again", examples)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


@pytest.mark.parametrize(
    "examples, message",
    [
        ([], "at least one row"),
        ([example(), example()._replace(found=[image(1)])], r"rows have \[1, 2\] images found"),
        ([example()._replace(found=[])], r"rows have \[0\] images found"),
        ([example()._replace(distances=[1])], r"row 'MS-COCO\\ngood': 2 images, but \(2, 1, 2\) marks"),
        ([example()._replace(names=["q", "a"])], r"\(2, 2, 1\) marks, distances and names"),
    ],
)
def test_bad_examples(examples, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plot_retrievals(tmp_path / "grid", examples)
