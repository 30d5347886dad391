"""Exact search against a stable sort and against FAISS, on codes that tie everywhere."""

import numpy as np
import pytest
from bundle_makers import draw_codes, make_bundle, pack

from drlhash_jax import bundles
from drlhash_jax.bundles import hamming
from drlhash_jax.errors import UserError


@pytest.fixture(params=["numpy", "numpy, many blocks", "faiss"])
def engine(request, monkeypatch):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(hamming, "_FAISS_PAIRS", 0 if request.param == "faiss" else 10**18)
    if request.param == "numpy, many blocks":
        monkeypatch.setattr(hamming, "_BLOCK_ROWS", 37)
    return request.param


def sorted_rows(query, database):
    """Distances and rows of every query, by (distance, row): the slow and obvious way."""
    distances = (query[:, None, :] != database[None]).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), order


@pytest.mark.parametrize("num_bits", [1, 4, 12, 64, 100, 257])
def test_as_a_stable_sort(num_bits, engine):
    query, database = draw_codes(9, num_bits, 1), draw_codes(300, num_bits, 2)
    # Rows come again and again.
    database = database[np.random.default_rng(3).integers(0, 60, 300)]
    distances, rows = sorted_rows(query, database)
    for k in (1, 7, 299, 300, 1000):
        found = bundles.search(pack(query), pack(database), k)
        for each, expected in zip(found, (distances, rows), strict=True):
            np.testing.assert_array_equal(each, expected[:, :k])
        assert found[0].dtype == np.int32 and found[1].dtype == np.int64
    for radius in (0, num_bits // 2, num_bits, num_bits + 9):
        for number, near in enumerate(bundles.within(pack(query), pack(database), radius)):
            inside = distances[number] <= radius
            np.testing.assert_array_equal(near.rows, rows[number][inside])
            np.testing.assert_array_equal(near.distances, distances[number][inside])
            assert near.rows.dtype == np.int64 and near.distances.dtype == np.int32


@pytest.mark.parametrize("k", [1, 10, 5000])
def test_as_faiss_on_many_ties(k, monkeypatch):
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    database = pack((rng.random((40_000, 64)) < 0.1).astype(np.uint8) * (rng.random(64) < 0.3).astype(np.uint8))
    index = faiss.IndexBinaryFlat(64)
    index.add(database)
    expected = index.search(database[:20], k)
    for pairs in (0, 10**18):
        monkeypatch.setattr(hamming, "_FAISS_PAIRS", pairs)
        for found, wanted in zip(bundles.search(database[:20], database, k), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_bundle_takes_bits_or_signs(engine, tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh"))
    query = draw_codes(4, seed=0)
    stored = np.unpackbits(bundle.codes, axis=1, count=12)
    distances, rows = sorted_rows(query, stored)
    for codes in (query, 2 * query.astype(np.int8) - 1):
        found = bundle.search(codes, 5)
        np.testing.assert_array_equal(found[0], distances[:, :5])
        np.testing.assert_array_equal(found[1], rows[:, :5])
        assert [near.rows[0] for near in bundle.within(codes, 0)] == list(rows[:, 0])


@pytest.mark.parametrize("bits", [1, 5, 8, 11, 12])
def test_first_bits_alone(bits, engine, tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh"))
    query, stored = draw_codes(4, seed=5), np.unpackbits(bundle.codes, axis=1, count=12)
    distances, rows = sorted_rows(query[:, :bits], stored[:, :bits])
    found = bundle.search(query, 50, bits)
    np.testing.assert_array_equal(found[0], distances)
    np.testing.assert_array_equal(found[1], rows)
    for number, near in enumerate(bundle.within(query, 1, bits)):
        np.testing.assert_array_equal(near.rows, rows[number][distances[number] <= 1])
    distances, rows = sorted_rows(stored[33:34, :bits], stored[:, :bits])
    near, others = rows[0][distances[0] <= 1], rows[0] != 33
    names = [bundle.id_of(row) for row in near]
    assert bundles.ask(bundle, ["code"], stored[33:34], None, 1, bits)[0].ids == names
    assert bundles.ask_by_id(bundle, "1/3", None, 1, bits).ids == [name for name in names if name != "1/3"]
    assert bundles.ask_by_id(bundle, "1/3", 4, bits=bits).distances == distances[0][others][:4].tolist()


def test_who_doubts_a_prefix(tmp_path):
    for number, (known, words) in enumerate(
        (
            ([], "not trained so that"),
            ("5", "not trained so that"),
            ([4, 8], "prefixes of 4, 8, 12 bits, not of 5"),
            ([5], ""),
        )
    ):
        path = make_bundle(tmp_path / f"{number}.drlh", model={"sha256": 64 * "0", "prefixes": known})
        bundle = bundles.open_bundle(path)
        doubt = bundles.prefix_doubt(bundle, 5)
        assert words in doubt and bool(words) == bool(doubt) and bundles.prefix_doubt(bundle, 12) == ""


def test_queries_that_do_not_fit(tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh"))
    for call, words in (
        (lambda: bundle.search(draw_codes(2, 16), 3), "16 bits, those of .* 12"),
        (lambda: bundle.search(draw_codes(2) * 0.5, 3), "not binary"),
        (lambda: bundle.search(draw_codes(2), 0), "k=0"),
        (lambda: bundle.within(draw_codes(2), -1), "radius=-1"),
        (lambda: bundle.search(draw_codes(2), 1, 13), "bits=13: .* prefixes of 1 to 12"),
        (lambda: bundle.within(draw_codes(2), 1, 0), "bits=0"),
        (lambda: bundles.search(draw_codes(2), pack(draw_codes(2)), 1), "12 bytes, database codes 2"),
        (lambda: bundles.search(draw_codes(2).astype(int), pack(draw_codes(2)), 1), "are int64"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_questions_by_id_and_code(tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh"))
    stored = np.unpackbits(bundle.codes, axis=1, count=12)
    distances, rows = sorted_rows(stored[33:34], stored)
    others = rows[0] != 33
    for k, radius in ((None, None), (4, None), (None, 3), (2, 3), (100, None)):
        answer = bundles.ask_by_id(bundle, "1/3", k, radius)
        near = others & (distances[0] <= (12 if radius is None else radius))
        limit = k or (10 if radius is None else 50)
        assert answer.ids == [bundle.id_of(row) for row in rows[0][near][:limit]]
        assert answer.distances == distances[0][near][:limit].tolist() and answer.query == "1/3"
    digits = "".join(map(str, stored[33]))
    for text in (digits, bundle.codes[33].tobytes().hex(), "0x" + bundle.codes[33].tobytes().hex().upper()):
        np.testing.assert_array_equal(bundles.parse_code(text, 12), stored[33:34])
    for text, words in (("", "give 12 digits"), ("01", "give 12"), ("zzzz", "give 12"), ("ffff", "beyond bit 12")):
        with pytest.raises(UserError, match=words):
            bundles.parse_code(text, 12)


def test_codes_of_one_side_are_not_compared_with_one_another(tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh", role="database"))
    with pytest.raises(UserError, match="codes of the database side"):
        bundles.ask_by_id(bundle, "0/0")
