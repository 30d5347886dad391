"""Tests of the public retrieval metrics against plain loops over queries and rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.retrieval import (
    count_by_distance,
    mean_average_precision,
    precision_at,
    precision_at_n,
    precision_recall_curve,
    precision_within_radius,
    stable_map,
)
from drlhash_jax.retrieval.counting import count_relevant
from drlhash_jax.retrieval.curves import recall_at
from drlhash_jax.retrieval.metrics import pack_rows, retrieval_metrics
from drlhash_jax.retrieval.packing import pack_labels
from drlhash_jax.retrieval.stable_order import stable_average_precision

KINDS = ["integer", "multi_hot"]
CASES = [("integer", num_bits) for num_bits in (1, 31, 32, 33, 64, 70)] + [("multi_hot", 1), ("multi_hot", 70)]
RANKS = np.array([1, 2, 5, 11, 39, 40, 60])
NUM_QUERIES, NUM_ROWS, NUM_CLASSES = 9, 40, 35


def make_data(num_bits, kind, seed=0):
    """Codes with many ties and near neighbours, labels with unlabelled rows and a query class nobody else has."""
    rng = np.random.default_rng([seed, num_bits])
    prototypes = rng.integers(0, 2, (4, num_bits))

    def codes(size):
        return prototypes[rng.integers(0, 4, size)] ^ (rng.random((size, num_bits)) < 1.2 / num_bits)

    query, database = codes(NUM_QUERIES), codes(NUM_ROWS)
    if kind == "integer":
        query_labels, labels = rng.integers(-1, 5, NUM_QUERIES), rng.integers(-1, 5, NUM_ROWS)
        query_labels[:3] = [99, -1, 2]
        labels[0] = 2
    else:
        query_labels = (rng.random((NUM_QUERIES, NUM_CLASSES)) < 0.08).astype(np.int64)
        labels = (rng.random((NUM_ROWS, NUM_CLASSES)) < 0.08).astype(np.int64)
        query_labels[0], labels[1] = 0, 0
        query_labels[2, -1] = labels[0, -1] = 1
    return query, database, query_labels, labels


def is_similar(a, b):
    if np.ndim(a) == 0:
        return a >= 0 and a == b
    return any(x and y for x, y in zip(a, b))


def ranked_blocks(query, database, query_labels, labels):
    """Per query with a relevant row: lists of rows and relevant rows at distance 0 .. K."""
    result = []
    for code, label in zip(query, query_labels):
        total, hits = [0] * (len(code) + 1), [0] * (len(code) + 1)
        for other, other_label in zip(database, labels):
            distance = int((code != other).sum())
            total[distance] += 1
            hits[distance] += is_similar(label, other_label)
        result.append((total, hits))
    return [block for block in result if sum(block[1])]


def expected_map(data, top_k=None, denominator="min"):
    """Mean over queries of sum over ranks of P(row at that rank is relevant) times the precision expected then."""
    values = []
    for total, hits in ranked_blocks(*data):
        value, rank, found = 0.0, 0, 0
        for c, r in zip(total, hits):
            for i in range(c):
                rank += 1
                if top_k is None or rank <= top_k:
                    earlier = i * (r - 1) / (c - 1) if c > 1 else 0
                    value += (r / c) * (found + 1 + earlier) / rank
            found += r
        values.append(value / (found if top_k is None or denominator == "all" else min(found, top_k)))
    return np.mean(values) if values else np.nan


def bound_map(data, relevant_first, top_k=None):
    values = []
    for total, hits in ranked_blocks(*data):
        value, rank, found = 0.0, 0, 0
        for c, r in zip(total, hits):
            block = [1] * r + [0] * (c - r)
            for relevant in block if relevant_first else reversed(block):
                rank += 1
                found += relevant
                if relevant and (top_k is None or rank <= top_k):
                    value += found / rank
        values.append(value / (found if top_k is None else min(found, top_k)))
    return np.mean(values)


def stable_order_map(data, top_k=None, denominator="min"):
    query, database, query_labels, labels = data
    values = []
    for code, label in zip(query, query_labels):
        order = np.argsort((database != code).sum(axis=1), kind="stable")
        relevant = [is_similar(label, labels[i]) for i in order]
        if not any(relevant):
            continue
        value = sum(sum(relevant[: k + 1]) / (k + 1) for k in range(len(order))[:top_k] if relevant[k])
        divisor = sum(relevant)
        values.append(value / (divisor if top_k is None or denominator == "all" else min(divisor, top_k)))
    return np.mean(values)


def expected_hits(total, hits, n):
    """Rows are taken block by block; from the block that n cuts, the average share."""
    found, left = 0.0, n
    for c, r in zip(total, hits):
        taken = min(c, left)
        found += taken * r / c if c else 0
        left -= taken
    return found


def radius_loop(data, radius):
    """Means of precision (empty ball 0), recall and emptiness within a Hamming radius."""
    precision, recall, empty = [], [], []
    for total, hits in ranked_blocks(*data):
        found, relevant = sum(total[: radius + 1]), sum(hits[: radius + 1])
        precision.append(relevant / found if found else 0.0)
        recall.append(relevant / sum(hits))
        empty.append(found == 0)
    return np.mean(precision), np.mean(recall), np.mean(empty)


@jax.jit
def counts_of_data(data, bit_mask=None):
    query, database, query_labels, labels = data
    packed = pack_rows(query, query_labels), pack_rows(database, labels)
    return count_by_distance(*packed, max_distance=query.shape[1], bit_mask=bit_mask)


@jax.jit
def every_metric(*data):
    metrics = [mean_average_precision(*data, ties=ties) for ties in ("expected", "optimistic", "pessimistic", "stable")]
    return *metrics, precision_at_n(*data, RANKS), *precision_recall_curve(*data), *precision_within_radius(*data)


@functools.partial(jax.jit, static_argnames="options")
def maps_of_data(data, options):
    """Mean average precision under several options, given as tuples of (name, value) pairs; one compilation a shape."""
    return [mean_average_precision(*data, **dict(option)) for option in options]


@pytest.mark.parametrize("kind, num_bits", CASES)
def test_mean_average_precision_equals_loop(kind, num_bits):
    data = make_data(num_bits, kind)
    np.testing.assert_allclose(maps_of_data(data, ((("top_k", 7),),)), [expected_map(data, 7)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_options_of_mean_average_precision_equal_loop(kind):
    data = make_data(12, kind)
    options = (
        (),
        (("top_k", 7), ("denominator", "all")),
        (("top_k", 25), ("ties", "optimistic")),
        (("top_k", 25), ("ties", "pessimistic")),
    )
    bounds = [bound_map(data, relevant_first, 25) for relevant_first in (True, False)]
    expected = [expected_map(data), expected_map(data, 7, "all"), *bounds]
    np.testing.assert_allclose(maps_of_data(data, options), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind, num_bits", CASES)
def test_counts_equal_loop(kind, num_bits):
    data = make_data(num_bits, kind, seed=1)
    counts = counts_of_data(data)
    kept = np.asarray(counts.relevant).any(axis=1)
    total, hits = zip(*ranked_blocks(*data))
    np.testing.assert_array_equal(np.asarray(counts.total)[kept], total)
    np.testing.assert_array_equal(np.asarray(counts.relevant)[kept], hits)
    assert (np.asarray(counts.total).sum(axis=1) == NUM_ROWS).all()
    assert 0 < kept.sum() < NUM_QUERIES  # some queries have nothing relevant


@pytest.mark.parametrize("kind", KINDS)
def test_relevant_rows_are_counted_by_weight(kind):
    query, database, query_labels, labels = make_data(4, kind, seed=1)
    weights = np.arange(NUM_ROWS) % 3
    got = count_relevant(pack_labels(query_labels), pack_rows(database, labels, jnp.asarray(weights)))
    expected = [sum(w for other, w in zip(labels, weights) if is_similar(label, other)) for label in query_labels]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_precision_and_recall_by_rank_equal_loop(kind):
    data = make_data(33, kind)
    blocks = ranked_blocks(*data)
    precision = [np.mean([expected_hits(*block, n) / n for block in blocks]) for n in RANKS]
    np.testing.assert_allclose(precision_at_n(*data, RANKS), precision, rtol=0, atol=1e-6)

    counts = counts_of_data(data)
    kept = np.asarray(counts.relevant).any(axis=1)
    recall = [[expected_hits(*block, n) / sum(block[1]) for n in RANKS] for block in blocks]
    got = np.asarray(recall_at(counts, jnp.asarray(RANKS)))
    np.testing.assert_allclose(got[kept], recall, rtol=0, atol=1e-6)
    assert (got[~kept] == 0).all()
    np.testing.assert_allclose(got[kept][:, -1], 1.0, rtol=0, atol=1e-6)  # RANKS ends past the database


def test_golden_precision_and_recall_by_rank():
    # Distances 0, 1, 1, 1, 2 of which 1, 2 and 0 rows are relevant. First 2 rows: 1 + 1 * 2/3 = 5/3 hits, precision
    # 5/6, recall 5/9; first 3: 1 + 2 * 2/3 = 7/3, precision 7/9, recall 7/9; first 10: 3 hits, precision .3, recall 1.
    database = np.array([[0, 0], [0, 1], [1, 0], [0, 1], [1, 1]])
    data = np.array([[0, 0]]), database, np.array([4]), np.array([4, 4, 4, 1, 1])
    ranks = np.array([2, 3, 10])
    np.testing.assert_allclose(precision_at_n(*data, ranks), [5 / 6, 7 / 9, 0.3], rtol=1e-6)
    np.testing.assert_allclose(recall_at(counts_of_data(data), jnp.asarray(ranks)), [[5 / 9, 7 / 9, 1]], rtol=1e-6)
    np.testing.assert_allclose(precision_at(counts_of_data(data), jnp.asarray(ranks))[0, 1], 7 / 9, rtol=1e-6)


@pytest.mark.parametrize("kind, num_bits", [("integer", 1), ("integer", 33), ("multi_hot", 12)])
def test_precision_recall_curve_equals_loop(kind, num_bits):
    data = make_data(num_bits, kind)
    precision, recall = precision_recall_curve(*data)
    assert precision.shape == recall.shape == (num_bits + 1,)
    for radius in range(num_bits + 1):
        expected_precision, expected_recall, _ = radius_loop(data, radius)
        np.testing.assert_allclose(precision[radius], expected_precision, rtol=0, atol=1e-6)
        np.testing.assert_allclose(recall[radius], expected_recall, rtol=0, atol=1e-6)
    assert float(recall[-1]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("kind, num_bits", [("integer", 1), ("integer", 64), ("multi_hot", 33)])
def test_precision_within_radius_equals_loop(kind, num_bits):
    data = make_data(num_bits, kind, seed=2)
    radii = (0, 1, 2, 100)
    results = jax.jit(lambda *data: [precision_within_radius(*data, radius) for radius in radii])(*data)
    for radius, (precision, empty) in zip(radii, results):
        expected_precision, _, expected_empty = radius_loop(data, radius)
        np.testing.assert_allclose(precision, expected_precision, rtol=0, atol=1e-6)
        np.testing.assert_allclose(empty, expected_empty, rtol=0, atol=1e-6)


def test_radius_is_two_unless_told():
    data = make_data(33, "integer", seed=2)
    np.testing.assert_array_equal(precision_within_radius(*data), precision_within_radius(*data, 2))


def test_golden_empty_balls():
    # Query 0000: 0001 (relevant) at distance 1 and 0011 (not) at 2, precision 1/2. Query 1111: 0001 is 3 away, 0011 is
    # 2 away and not relevant, precision 0. Query 1100: distances 3 and 4, an empty ball, precision 0. Mean 1/6, a third
    # of the balls empty.
    query = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]])
    database = np.array([[0, 0, 0, 1], [0, 0, 1, 1]])
    precision, empty = precision_within_radius(query, database, np.array([5, 5, 5]), np.array([5, 6]))
    assert float(precision) == pytest.approx(1 / 6, rel=1e-6)
    assert float(empty) == pytest.approx(1 / 3, rel=1e-6)


@pytest.mark.parametrize("num_bits", [1, 12, 33])
def test_retrieval_metrics_equal_loops(num_bits):
    data = make_data(num_bits, "integer", seed=3)
    packed = pack_rows(data[0], data[2]), pack_rows(data[1], data[3])
    metrics = jax.jit(functools.partial(retrieval_metrics, max_distance=num_bits, top_k=20))(*packed)
    precision, _, empty = radius_loop(data, 2)
    expected = expected_map(data, 20), bound_map(data, False, 20), bound_map(data, True, 20), precision, empty
    np.testing.assert_allclose(metrics[:5], expected, rtol=0, atol=1e-6)
    num_queries = len(ranked_blocks(*data))
    assert (int(metrics.num_queries), int(metrics.num_without_relevant)) == (num_queries, NUM_QUERIES - num_queries)


def test_integer_and_one_hot_labels_agree():
    query, database, query_labels, labels = make_data(4, "integer")
    one_hot = [np.array([[x == c for c in range(100)] for x in rows], np.int64) for rows in (query_labels, labels)]
    integer, hot = (query, database, query_labels, labels), (query, database, *one_hot)
    for got, expected in zip(every_metric(*hot), every_metric(*integer)):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind, num_bits", [("integer", 1), ("integer", 64), ("multi_hot", 33)])
def test_stable_ties_equal_stable_argsort(kind, num_bits):
    data = make_data(num_bits, kind, seed=4)
    cuts = [(None, "min"), (7, "min"), (7, "all"), (1000, "min")]
    options = tuple((("ties", "stable"), ("top_k", top_k), ("denominator", name)) for top_k, name in cuts)
    expected = [stable_order_map(data, *cut) for cut in cuts]
    np.testing.assert_allclose(maps_of_data(data, options), expected, rtol=0, atol=1e-6)


def test_stable_map_equals_stable_argsort_and_sees_the_order():
    data = make_data(8, "integer", seed=5)
    assert stable_map(*data, top_k=9) == pytest.approx(stable_order_map(data, 9), abs=1e-6)
    # Sorting the database by relevance to a one-class query set reaches the bounds.
    query, database, _, labels = data
    ones = np.full(NUM_QUERIES, 2)
    for sign, ties in ((-1, "optimistic"), (1, "pessimistic")):
        order = np.argsort(sign * (labels == 2), kind="stable")
        bound = float(mean_average_precision(query, database, ones, labels, ties=ties))
        assert stable_map(query, database[order], ones, labels[order]) == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_invariances(kind):
    query, database, query_labels, labels = data = make_data(33, kind, seed=6)
    rng = np.random.default_rng(0)
    rows, bits = rng.permutation(NUM_ROWS), rng.permutation(33)
    flip = np.zeros(33, np.int64)
    flip[32] = 1
    variants = [
        (query, database[rows], query_labels, labels[rows]),
        (query[:, bits], database[:, bits], query_labels, labels),
        (query ^ flip, database ^ flip, query_labels, labels),
        (1 - query, 1 - database, query_labels, labels),
    ]
    counts = counts_of_data(data)
    options = ((("top_k", 11),),)
    value = maps_of_data(data, options)
    for variant in variants:
        for got, expected in zip(counts_of_data(variant), counts):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(maps_of_data(variant, options), value, rtol=0, atol=1e-6)


def test_permuting_queries_permutes_counts():
    query, database, query_labels, labels = data = make_data(33, "multi_hot", seed=6)
    order = np.random.default_rng(0).permutation(NUM_QUERIES)
    counts, permuted = counts_of_data(data), counts_of_data((query[order], database, query_labels[order], labels))
    for got, expected in zip(permuted, counts):
        np.testing.assert_array_equal(got, np.asarray(expected)[order])


@pytest.mark.parametrize("kind", KINDS)
def test_queries_without_relevant_rows_are_excluded(kind):
    query, database, query_labels, labels = data = make_data(4, kind)
    kept = [any(is_similar(label, other) for other in labels) for label in query_labels]
    assert 0 < sum(kept) < NUM_QUERIES
    subset = query[kept], database, query_labels[kept], labels
    for got, expected in zip(every_metric(*data), every_metric(*subset)):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)

    orphans = query, database, np.full_like(query_labels, -1) if kind == "integer" else 0 * query_labels, labels
    for got in every_metric(*orphans):
        assert np.isnan(got).all()


def test_unlabelled_rows_are_relevant_to_nothing():
    query, database = np.zeros((2, 3), np.int64), np.zeros((4, 3), np.int64)
    # Integer: class -1 shares nothing, not even with -1. Query 0 has two relevant rows, query 1 none.
    counts = counts_of_data((query, database, np.array([0, -1]), np.array([0, -1, -1, 0])))
    np.testing.assert_array_equal(counts.relevant[:, 0], [2, 0])
    np.testing.assert_array_equal(counts.total[:, 0], [4, 4])
    # Multi-hot: rows of zeros share nothing, whether in the query or in the database.
    zero = np.zeros((4, 2), np.int64)
    zero[[0, 3], 1] = 1
    counts = counts_of_data((query, database, np.array([[1, 1], [0, 0]]), zero))
    np.testing.assert_array_equal(counts.relevant[:, 0], [2, 0])


@pytest.mark.parametrize("num_bits", [20, 40])
def test_bit_mask_selects_columns(num_bits):
    query, database, query_labels, labels = data = make_data(num_bits, "integer")
    chosen = np.random.default_rng(2).random(num_bits) < 0.4
    place = [sum(int(bit) << (31 - i) for i, bit in enumerate(chosen[w : w + 32])) for w in range(0, num_bits, 32)]
    masked = counts_of_data(data, bit_mask=jnp.asarray(place, jnp.uint32))
    alone = counts_of_data((query[:, chosen], database[:, chosen], query_labels, labels))
    for got, expected in zip(masked, alone):
        np.testing.assert_array_equal(np.asarray(got)[:, : chosen.sum() + 1], expected)
        assert not np.asarray(got)[:, chosen.sum() + 1 :].any()


FUNCTIONS = {
    "expected": functools.partial(mean_average_precision, top_k=9),
    "optimistic": functools.partial(mean_average_precision, ties="optimistic"),
    "stable": functools.partial(mean_average_precision, ties="stable"),
    "precision_at_n": lambda *data: precision_at_n(*data, RANKS),
    "curve": precision_recall_curve,
    "radius": precision_within_radius,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jit_and_vmap_equal_eager(name):
    function = FUNCTIONS[name]
    batch = [make_data(4, "integer", seed=seed) for seed in range(2)]
    eager = [np.asarray(function(*data)) for data in batch]
    compiled = jax.jit(function)
    for data, expected in zip(batch, eager):
        np.testing.assert_allclose(np.asarray(compiled(*data)), expected, rtol=0, atol=1e-6)
    stacked = [np.stack(arrays) for arrays in zip(*batch)]
    mapped = np.stack([np.asarray(x) for x in jax.tree.leaves(jax.vmap(function)(*stacked))], axis=1)
    np.testing.assert_allclose(mapped.reshape(2, -1), np.stack(eager).reshape(2, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_rows_change_nothing(kind):
    query, database, query_labels, labels = make_data(20, kind, seed=7)
    rng = np.random.default_rng(0)

    def padded(codes, labels):
        # Rows of weight 0 first, in the middle and last; copies of real rows, so that they would be relevant.
        places = np.sort(rng.choice(len(codes) + 6, len(codes), replace=False))
        source = rng.integers(0, len(codes), len(codes) + 6)
        source[places] = np.arange(len(codes))
        weights = np.zeros(len(source), np.int32)
        weights[places] = 1
        return pack_rows(codes[source], labels[source], jnp.asarray(weights))

    plain = pack_rows(query, query_labels), pack_rows(database, labels)
    more = padded(query, query_labels), padded(database, labels)
    metrics = jax.jit(functools.partial(retrieval_metrics, max_distance=20, top_k=15))
    expected, got = metrics(*plain), metrics(*more)
    np.testing.assert_allclose(got[:5], expected[:5], rtol=1e-6, atol=1e-7)
    assert int(got.num_queries) == int(expected.num_queries)
    assert int(got.num_without_relevant) == int(expected.num_without_relevant)

    stable = jax.jit(functools.partial(stable_average_precision, max_distance=20, top_k=15))
    np.testing.assert_allclose(stable(plain[0], more[1]), stable(*plain), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic", "stable"])
@pytest.mark.parametrize(
    "options, message", [({"denominator": "max"}, "denominator"), ({"top_k": 0}, "top_k"), ({"top_k": -1}, "top_k")]
)
def test_refuses_options_under_every_tie_rule(ties, options, message):
    with pytest.raises(ValueError, match=message):
        mean_average_precision(*make_data(4, "integer"), ties=ties, **options)


def test_refuses_unknown_ties():
    with pytest.raises(ValueError, match="ties='worst'.*expected.*stable"):
        mean_average_precision(*make_data(4, "integer"), ties="worst")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refuses_shapes_that_do_not_fit(name):
    function = FUNCTIONS[name]
    query, database, query_labels, labels = make_data(6, "integer")
    hot, query_hot = np.eye(5, dtype=np.int64)[labels], np.eye(5, dtype=np.int64)[query_labels % 5]
    with pytest.raises(ValueError, match="5 bits.*6"):
        function(query[:, :5], database, query_labels, labels)
    with pytest.raises(ValueError, match="39 rows of labels"):
        function(query, database, query_labels, labels[1:])
    with pytest.raises(ValueError, match="8 rows of codes"):
        function(query[1:], database, query_labels, labels)
    with pytest.raises(ValueError, match="labels"):
        function(query, database, query_labels, hot)
    with pytest.raises(ValueError, match="labels"):
        function(query, database, query_hot[:, :4], hot)
