"""Tests of evaluation query by query: plain loops, invariances, chunks, devices, refusals, FAISS."""

import functools
import json
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from drlhash_jax.codes import count_unlabelled
from drlhash_jax.retrieval import (
    Cut,
    QueryMetrics,
    RankedQueries,
    asymmetric_queries,
    evaluate_queries,
    mean_over_counted,
    ndcg_at_n,
    precision_at_recall_levels,
    precision_by_radius,
    precision_recall_by_rank,
    precision_recall_curve,
    recall_at_n,
    reproduce_map,
    stable_queries,
)
from drlhash_jax.retrieval.curves import precision_at_recall
from drlhash_jax.types import DistanceCounts

KINDS = ["integer", "multi_hot"]
NUM_QUERIES, NUM_ROWS, NUM_BITS = 23, 90, 20
RANKS, LEVELS = (1, 7, 90), (0.1, 0.3, 0.5, 1.0)
options = {"top_k": 30, "ranks": RANKS, "recall_levels": LEVELS, "chunk_size": 8}


def make_data(kind, seed=0):
    """Codes with ties and repeated rows, labels with unlabelled rows and queries without anything relevant."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2, (5, NUM_BITS))
    codes = lambda n: prototypes[rng.integers(0, 5, n)] ^ (rng.random((n, NUM_BITS)) < 0.08)
    query, database = codes(NUM_QUERIES), codes(NUM_ROWS)
    if kind == "integer":
        query_labels, labels = rng.integers(-1, 5, NUM_QUERIES), rng.integers(-1, 5, NUM_ROWS)
        query_labels[:3] = [99, -1, 2]
    else:
        query_labels, labels = ((rng.random((n, 37)) < 0.07).astype(np.uint8) for n in (NUM_QUERIES, NUM_ROWS))
        query_labels[0] = labels[1] = 0
        labels[40] = labels[41] = query_labels[2] = np.arange(37) % 9 == 0
    return query, database, query_labels, labels


def gains_of(query_labels, labels):
    """Shared labels ``[Q, N]``."""
    if query_labels.ndim == 1:
        return ((query_labels[:, None] == labels) & (labels >= 0)).astype(int)
    return query_labels.astype(int) @ labels.T.astype(int)


def rows_of_query(data):
    """Distances and gains of each query."""
    query, database, query_labels, labels = data
    for code, gains in zip(query, gains_of(query_labels, labels)):
        yield (database != code).sum(axis=1), gains


def curves_of_query(distances, gains):
    """P, recall and NDCG by rank, precision at recall levels, and the radius curves, of one query, in float64."""
    relevant = gains > 0
    share = np.array([relevant[distances == d].mean() for d in distances])
    gain = np.array([gains[distances == d].mean() for d in distances])
    order = np.argsort(distances, kind="stable")
    hits, n = np.cumsum(share[order]), np.arange(1, len(order) + 1)
    discount = 1 / np.log2(n + 1)
    best = np.cumsum(np.sort(gains)[::-1] * discount)
    at = np.array(RANKS) - 1
    number = max(relevant.sum(), 1)
    wanted = np.array(LEVELS) * number
    # Whole ranks before the one that reaches the level, and what is missing of a hit there, shared evenly.
    first = np.minimum(np.searchsorted(hits, wanted * (1 - 1e-9)), len(order) - 1)
    start = np.concatenate([[0.0], hits])[first]
    ranks = first + (wanted - start) / np.maximum(share[order][first], 1e-12)
    balls = [relevant[distances <= r] for r in range(NUM_BITS + 1)]
    return (
        hits[at] / n[at],
        hits[at] / number,
        np.cumsum(gain[order] * discount)[at] / np.where(best > 0, best, 1)[at],
        wanted / ranks if relevant.any() else np.zeros(len(LEVELS)),
        np.array([ball.mean() if len(ball) else 0.0 for ball in balls]),
        np.array([ball.sum() / number for ball in balls]),
        np.array([len(ball) == 0 for ball in balls]),
    )


def stable_precision(relevant, top_k, denominator):
    cut = relevant[:top_k]
    total = sum(cut[: k + 1].sum() / (k + 1) for k in range(len(cut)) if cut[k])
    divisor = {"min": min(relevant.sum(), len(cut)), "all": relevant.sum(), "retrieved": cut.sum()}[denominator]
    return total / max(divisor, 1)


def average_precisions(distances, relevant, top_k=30):
    """Expectation rank by rank, then ties against the query and for it."""
    value, found, rank = 0.0, 0, 0
    for d in range(NUM_BITS + 1):
        c, r = (distances == d).sum(), relevant[distances == d].sum()
        for i in range(c):
            rank += 1
            if rank <= top_k and r:
                value += r / c * (found + 1 + i * (r - 1) / max(c - 1, 1)) / rank
        found += r
    bounds = [relevant[np.lexsort((sign * relevant, distances))] for sign in (1, -1)]
    return value / max(min(found, top_k), 1), *(stable_precision(order, top_k, "min") for order in bounds)


def expected_metrics(data):
    return [np.stack(each) for each in zip(*(curves_of_query(*rows) for rows in rows_of_query(data)))]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_queries_equals_loops(kind):
    data = make_data(kind)
    got = evaluate_queries(*data, **options)
    for name, expected in zip(QueryMetrics._fields[3:], expected_metrics(data)):
        np.testing.assert_allclose(getattr(got, name), expected, rtol=2e-6, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(got.relevant, (gains_of(*data[2:]) > 0).sum(axis=1))
    expected = np.array([average_precisions(distances, gains > 0) for distances, gains in rows_of_query(data)])
    np.testing.assert_allclose(np.stack(got[:3], axis=1), expected, rtol=2e-6, atol=1e-6)
    assert (got.relevant == 0).any() and (got.relevant > 2).any()
    means = mean_over_counted(got)
    assert (means.num_queries, means.num_without_relevant) == ((got.relevant > 0).sum(), (got.relevant == 0).sum())


def test_functions_of_arrays_are_the_means():
    data = make_data("multi_hot")
    counted = (gains_of(*data[2:]) > 0).any(axis=1)
    precision, recall, ndcg, at_levels, ball, ball_recall, empty = (x[counted].mean(0) for x in expected_metrics(data))

    @jax.jit
    def everything(*data):
        by_rank, by_radius = precision_recall_by_rank(*data, np.array(RANKS)), precision_by_radius(*data)
        alone = recall_at_n(*data, np.array(RANKS)), ndcg_at_n(*data, np.array(RANKS), max_shared=9)
        levels = precision_at_recall_levels(*data, np.array(LEVELS, np.float32))
        return *by_rank, *by_radius, *alone, levels, *precision_recall_curve(*data)

    expected = precision, recall, ball, empty, recall, ndcg, at_levels, ball, ball_recall
    for got, each in zip(everything(*data), expected, strict=True):
        np.testing.assert_allclose(got, each, rtol=2e-6, atol=1e-6)


def test_golden_precision_at_recall():
    levels = np.array([0.6, 1 / 3, 2 / 3, 1], np.float32)
    counts = DistanceCounts(
        np.array([[1, 1, 1, 1, 1], [5, 0, 0, 0, 0], [15, 10, 10, 0, 0], [0, 2, 0, 3, 0]]),
        np.array([[1, 0, 1, 1, 0], [3, 0, 0, 0, 0], [15, 0, 10, 0, 0], [0, 0, 0, 0, 0]]),
    )
    expected = [
        # Hits at ranks 1, 3 and 4: 1.8 hits at rank 2.8, then one, two and three.
        [1.8 / 2.8, 1, 2 / 3, 3 / 4],
        # All tied: 3/5 of a hit a rank.
        [3 / 5] * 4,
        # 15 of 25 hits at rank 15, though .6 * 25 > 15 in float32; 25/3 at that rank, 50/3 and 25 in the last block.
        [1, 1, (50 / 3) / (25 + 5 / 3), 25 / 35],
        [0] * 4,
    ]
    np.testing.assert_allclose(jax.jit(precision_at_recall)(counts, levels), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_invariances(kind):
    query, database, query_labels, labels = data = make_data(kind, seed=1)
    rng = np.random.default_rng(0)
    rows, bits, flip = rng.permutation(NUM_ROWS), rng.permutation(NUM_BITS), rng.integers(0, 2, NUM_BITS)
    variants = {
        "rows": (query, database[rows], query_labels, labels[rows]),
        "bits": (query[:, bits], database[:, bits], query_labels, labels),
        "flipped": (query ^ flip, database ^ flip, query_labels, labels),
    }
    if kind == "integer":
        variants["classes"] = query, database, 7 * query_labels, 7 * labels
    else:
        columns = rng.permutation(37)
        variants["classes"] = query, database, query_labels[:, columns], labels[:, columns]
    expected = evaluate_queries(*data, **options)
    for name, variant in variants.items():
        for got, each in zip(evaluate_queries(*variant, **options), expected):
            np.testing.assert_allclose(got, each, rtol=1e-6, atol=1e-6, err_msg=name)
    stable = stable_queries(*data).average_precision
    for name in ("bits", "flipped", "classes"):
        np.testing.assert_allclose(stable_queries(*variants[name]).average_precision, stable, rtol=1e-6, err_msg=name)
    assert not np.allclose(stable_queries(*variants["rows"]).average_precision, stable)
    order = rng.permutation(NUM_QUERIES)
    permuted = evaluate_queries(query[order], database, query_labels[order], labels, **options)
    for got, each in zip(permuted, expected):
        np.testing.assert_allclose(got, each[order], rtol=1e-6, atol=1e-6)


def test_chunks_report_progress_compile_once_and_change_nothing(caplog):
    data = make_data("integer", seed=2)
    whole = stable_queries(*data, top_k=30, chunk_size=1000)
    done = []
    with jax.log_compiles():
        chunked = stable_queries(*data, top_k=30, chunk_size=9, on_queries=lambda *counts: done.append(counts))
    compiled = [r for r in caplog.records if r.getMessage().startswith("Finished XLA compilation of jit(_rank")]
    assert done == [(9, 23), (18, 23), (23, 23)]
    assert len(compiled) == 1
    for got, expected in zip(chunked, whole, strict=True):
        assert len(got) == NUM_QUERIES
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("kind, denominator", [("integer", "all"), ("multi_hot", "retrieved")])
def test_stable_queries_equal_stable_argsort(kind, denominator):
    data = make_data(kind, seed=3)
    got = stable_queries(*data, top_k=11, denominator=denominator, chunk_size=8)
    for i, (distances, gains) in enumerate(rows_of_query(data)):
        relevant = gains[np.argsort(distances, kind="stable")] > 0
        assert got.average_precision[i] == pytest.approx(stable_precision(relevant, 11, denominator), abs=1e-6)
        assert got.relevant[i] == relevant.sum()


@pytest.mark.parametrize("function", [evaluate_queries, stable_queries, asymmetric_queries])
def test_several_cuts_are_each_alone(function):
    data = make_data("multi_hot", seed=5)
    cuts = Cut(), Cut(7, "all"), Cut(7), Cut(40, "retrieved"), Cut(NUM_ROWS, "retrieved")
    together = function(*data, cuts=cuts, chunk_size=8)
    for place, cut in enumerate(cuts):
        alone = function(*data, **cut._asdict(), chunk_size=8)
        for name in (name for name in alone._fields if name.startswith("average")):
            got = getattr(together, name)[:, place]
            np.testing.assert_allclose(got, getattr(alone, name), rtol=1e-6, err_msg=f"{name} {cut}")
    with pytest.raises(ValueError, match="top_k=91: the database has only 90 rows"):
        function(*data, cuts=(Cut(), Cut(91)))


def test_faiss_agrees():
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(4)
    query, database = rng.integers(0, 2, (40, 16)), rng.integers(0, 2, (600, 16))
    query_labels, labels = rng.integers(0, 5, 40), rng.integers(0, 5, 600)
    index = faiss.IndexBinaryFlat(16)
    index.add(np.packbits(database.astype(np.uint8), axis=1))
    packed = np.packbits(query.astype(np.uint8), axis=1)
    _, found = index.search(packed, 100)
    got = stable_queries(query, database, query_labels, labels, top_k=100, denominator="retrieved")
    expected = [stable_precision(labels[ids] == label, 100, "retrieved") for ids, label in zip(found, query_labels)]
    np.testing.assert_allclose(got.average_precision, expected, rtol=1e-5)
    metrics = evaluate_queries(query, database, query_labels, labels, ranks=(1, 100))
    for radius in (0, 2, 5):
        # FAISS's ball is open: distance < radius + 1.
        ends, _, ids = index.range_search(packed, radius + 1)
        balls = [labels[ids[a:b]] == label for a, b, label in zip(ends[:-1], ends[1:], query_labels)]
        expected = [ball.mean() if len(ball) else 0.0 for ball in balls]
        np.testing.assert_allclose(metrics.radius_precision[:, radius], expected, rtol=1e-6)
        np.testing.assert_array_equal(metrics.radius_empty[:, radius], [len(ball) == 0 for ball in balls])


def test_means_leave_out_what_has_nothing_to_find():
    values = RankedQueries(np.array([0.5, 0.9, 0.0], np.float32), np.array([3, 0, 2], np.int32))
    means = mean_over_counted(values)
    assert means.means.average_precision == pytest.approx(0.25)
    assert (means.num_queries, means.num_without_relevant) == (2, 1)
    nothing = mean_over_counted(RankedQueries(np.array([0.0]), np.array([0])))
    assert math.isnan(nothing.means.average_precision) and nothing.num_queries == 0


def test_unlabelled_rows_are_counted_and_find_nothing():
    data = make_data("multi_hot")
    zero = data[0], data[1], 0 * data[2], data[3]
    got = evaluate_queries(*zero, **options)
    assert not got.relevant.any() and not got.average_precision.any() and not got.ndcg.any()
    assert mean_over_counted(got).num_without_relevant == NUM_QUERIES
    assert count_unlabelled(zero[2]) == NUM_QUERIES
    assert count_unlabelled(np.array([0, -1, 3, -2])) == 2
    assert count_unlabelled(np.array([[0, 0], [0, 1]])) == 1


def changed(place, change):
    def apply(data):
        return *data[:place], change(data[place]), *data[place + 1 :]

    return apply


def replace(array, where, value):
    array = np.array(array, np.float64 if isinstance(value, float) else None)
    array[where] = value
    return array


BAD_INPUT = {
    "bits": (changed(1, lambda x: x[:, 1:]), "20 bits.*19"),
    "rows of labels": (changed(3, lambda x: x[1:]), "90 rows of codes but 89 rows of labels"),
    "kinds of labels": (changed(2, lambda x: np.ones((len(x), 3), int)), "do not fit"),
    "three values": (changed(1, lambda x: replace(x, (0, 0), -1)), "database codes: -1, 0 and 1 occur"),
    "two": (changed(0, lambda x: replace(x, (3, 4), 2)), "query codes: 2 in row 3 is not binary"),
    "logits": (changed(0, lambda x: x + 0.25), "query codes: .* in row 0 is not binary"),
    "NaN code": (changed(1, lambda x: replace(x, (0, 0), math.nan)), "database codes: NaN in row 0"),
    "text": (changed(0, lambda x: x.astype(str)), "query codes: values of type .* are not numbers"),
    "no queries": (lambda data: (data[0][:0], data[1], data[2][:0], data[3]), r"query codes: shape \(0, 20\)"),
    "no database": (lambda data: (data[0], data[1][:0], data[2], data[3][:0]), "database codes: shape"),
    "flat codes": (changed(0, lambda x: x[:, 0]), "query codes: shape"),
    "float classes": (changed(2, lambda x: x + 0.5), "query labels: .*.5 in row 0 is not a class number"),
    "three axes": (changed(3, lambda x: np.zeros((len(x), 2, 2))), "database labels: shape"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_refuses_bad_input(name):
    spoil, message = BAD_INPUT[name]
    functions = [evaluate_queries, stable_queries, functools.partial(reproduce_map, reproduce="adsh")]
    # Real numbers are what asymmetric ranking is for.
    if name not in ("two", "logits"):
        functions.append(asymmetric_queries)
    for function in functions:
        with pytest.raises(ValueError) as error:
            function(*spoil(make_data("integer")))
        if function is not asymmetric_queries:
            error.match(message)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.full((NUM_ROWS, 2), 0.5), "database labels: 0.5 in row 0; multi-hot"),
        (np.full((NUM_ROWS, 2), math.nan), "database labels: NaN in row 0"),
    ],
)
def test_refuses_labels_that_are_no_labels(labels, message):
    query, database, *_ = make_data("integer")
    with pytest.raises(ValueError, match=message):
        evaluate_queries(query, database, np.ones((NUM_QUERIES, 2), int), labels)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"top_k": 91}, "top_k=91: the database has only 90 rows"),
        ({"top_k": 0}, "top_k=0: must be at least 1"),
        ({"denominator": "hits"}, "denominator='hits'"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"ranks": (0, 5)}, "rank=0"),
        ({"ranks": (1, 91)}, "rank=91"),
        ({"recall_levels": (0.0, 0.5)}, "recall level 0.0"),
        ({"recall_levels": (1.5,)}, "recall level 1.5"),
    ],
)
def test_refuses_options_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        evaluate_queries(*make_data("integer"), **{"ranks": RANKS, **wrong})
    if next(iter(wrong)) in ("top_k", "denominator", "chunk_size"):
        for function in (stable_queries, asymmetric_queries):
            with pytest.raises(ValueError, match=message):
                function(*make_data("integer"), **wrong)


WORKER = """
import json
import jax
import numpy as np
from drlhash_jax import parallel
from drlhash_jax.retrieval import asymmetric_queries, evaluate_queries, stable_queries
from tests.retrieval import test_streaming as here
assert jax.device_count() == 3
data, out = here.make_data("multi_hot"), []
for function, wrapper in ((evaluate_queries, "shard_map"), (stable_queries, "pmap"), (asymmetric_queries, "shard_map")):
    values = function(*data, chunk_size=7, top_k=30, devices=parallel.find_devices(wrapper))
    out.append([np.asarray(value, np.float64).tolist() for value in values])
print(json.dumps(out))
"""


@pytest.mark.slow
def test_devices_share_the_queries():
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "3", "JAX_PLATFORMS": "cpu"}
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, check=False
    )
    assert worker.returncode == 0, worker.stderr
    for function, results in zip((evaluate_queries, stable_queries, asymmetric_queries), json.loads(worker.stdout)):
        for got, expected in zip(results, function(*make_data("multi_hot"), top_k=30), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_default_ranks_stop_where_the_database_does():
    step = evaluate_queries(*make_data("multi_hot"), top_k=30)
    assert step.precision.shape == step.recall.shape == step.ndcg.shape == (NUM_QUERIES, 2)
