"""Tests of tie-aware average precision: golden numbers, enumeration of all tie orders, accuracy at scale."""

import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from drlhash_jax.retrieval import average_precision, mean_average_precision, mean_over_queries
from drlhash_jax.retrieval.average_precision import block_sums, has_relevant
from drlhash_jax.types import DistanceCounts

OPTIONS = [(None, "min"), (1, "min"), (3, "min"), (3, "all"), (100, "min")]


jitted_average_precision = jax.jit(average_precision, static_argnames=("top_k", "ties", "denominator"))


def counts_of(total, relevant):
    return DistanceCounts(jnp.asarray(total, jnp.int32), jnp.asarray(relevant, jnp.int32))


def order_precision(relevant, top_k, denominator):
    """Average precision of one fixed order: relevant is a list of {0, 1} by rank, and nothing is tied any more."""
    hits, total = 0, Fraction(0)
    for rank, is_relevant in enumerate(relevant, start=1):
        if is_relevant:
            hits += 1
            if top_k is None or rank <= top_k:
                total += Fraction(hits, rank)
    divisor = hits if denominator == "all" or top_k is None else min(hits, top_k)
    return total / max(divisor, 1)


def all_orders(distances, relevant):
    """Every ranking that sorts the distances: the product of the permutations inside each block."""
    blocks = [[i for i, x in enumerate(distances) if x == d] for d in sorted(set(distances))]
    for parts in itertools.product(*(itertools.permutations(block) for block in blocks)):
        yield [relevant[i] for part in parts for i in part]


def rank_by_rank_precision(total, relevant, top_k=None, denominator="min"):
    """Expectation over tie orders in float64, one rank after the other.

    At rank C + i, inside a block of c rows of which r are relevant, a relevant row stands with probability r / c; given
    that, the i - 1 rows of the block before it are a uniform draw from the other c - 1, of which r - 1 are relevant.
    """
    rows_before = hits_before = 0
    result = 0.0
    for c, r in zip(total, relevant):
        if c and r:
            i = np.arange(1, c + 1, dtype=np.float64)
            expected_hits = hits_before + 1 + (i - 1) * (r - 1) / max(c - 1, 1)
            terms = (r / c) * expected_hits / (rows_before + i)
            result += math.fsum(terms if top_k is None else terms[rows_before + i <= top_k])
        rows_before += c
        hits_before += r
    divisor = hits_before if denominator == "all" or top_k is None else min(hits_before, top_k)
    return result / max(divisor, 1)


def placed_precision(total, relevant, relevant_first, top_k=None):
    """Average precision in float64 with the relevant rows of every block first (or last)."""
    order = []
    for c, r in zip(total, relevant):
        block = np.zeros(c)
        block[slice(0, r) if relevant_first else slice(c - r, c)] = 1.0
        order.append(block)
    order = np.concatenate(order)
    precision = order * np.cumsum(order) / np.arange(1, len(order) + 1)
    divisor = order.sum() if top_k is None else min(order.sum(), top_k)
    return math.fsum(precision[:top_k]) / max(divisor, 1)


def test_golden_three_blocks():
    # By distance 0, 1, 2: one relevant row; two rows, one of them relevant; one relevant row. R = 3.
    counts = counts_of([[1, 2, 1]], [[1, 1, 1]])
    # First row 1/1; second hit at rank 2 (2/2) or 3 (2/3), mean 5/6; third hit at rank 4, 3/4:
    # (1 + 5/6 + 3/4) / 3 = 31/36. Best order (1 + 1 + 3/4) / 3 = 11/12, worst (1 + 2/3 + 3/4) / 3 = 29/36.
    np.testing.assert_allclose(average_precision(counts), [31 / 36], rtol=1e-6)
    np.testing.assert_allclose(average_precision(counts, ties="optimistic"), [11 / 12], rtol=1e-6)
    np.testing.assert_allclose(average_precision(counts, ties="pessimistic"), [29 / 36], rtol=1e-6)


def test_golden_cut_inside_a_block():
    counts = counts_of([[1, 2, 1]], [[1, 1, 1]])
    # Ranks 1 and 2 count. Rank 1 gives 1; rank 2 is the block's relevant row half of the time: 1/2 * 2/2. Sum 3/2,
    # over min(3, 2) = 2 it is 3/4, over all three relevant rows 1/2.
    np.testing.assert_allclose(average_precision(counts, top_k=2), [3 / 4], rtol=1e-6)
    np.testing.assert_allclose(average_precision(counts, top_k=2, denominator="all"), [1 / 2], rtol=1e-6)
    # Best order: (1 + 1) / 2; worst: the relevant row is cut off, (1 + 0) / 2.
    np.testing.assert_allclose(average_precision(counts, top_k=2, ties="optimistic"), [1.0], rtol=1e-6)
    np.testing.assert_allclose(average_precision(counts, top_k=2, ties="pessimistic"), [1 / 2], rtol=1e-6)


def test_golden_everything_tied():
    # Three rows, two relevant, one block. Orders 110: 1 + 2/2 = 2; 101: 1 + 2/3 = 5/3; 011: 1/2 + 2/3 = 7/6.
    # Mean (12 + 10 + 7) / 18 = 29/18, over R = 2: 29/36. Best 2/2 = 1, worst 7/12.
    codes, labels = np.zeros((3, 4), np.int32), np.array([1, 1, 0])
    query = codes[:1], codes, labels[:1], labels
    assert float(mean_average_precision(*query)) == pytest.approx(29 / 36, rel=1e-6)
    assert float(mean_average_precision(*query, ties="optimistic")) == pytest.approx(1.0, rel=1e-6)
    assert float(mean_average_precision(*query, ties="pessimistic")) == pytest.approx(7 / 12, rel=1e-6)


def test_golden_mean_over_queries():
    # Code bits 00; database 00 01 11 with labels 0 1 0. Query label 0: hits at ranks 1 and 3, (1 + 2/3) / 2 = 5/6;
    # query label 1: hit at rank 2, 1/2; query label 7: nothing relevant, left out. Mean (5/6 + 1/2) / 2 = 2/3.
    database, labels = np.array([[0, 0], [0, 1], [1, 1]]), np.array([0, 1, 0])
    value = mean_average_precision(np.zeros((3, 2), np.int32), database, np.array([0, 1, 7]), labels)
    assert float(value) == pytest.approx(2 / 3, rel=1e-6)


@pytest.mark.parametrize("num_rows, num_bits", [(6, 1), (7, 3)])
def test_equals_enumeration_of_tie_orders(num_rows, num_bits):
    rng = np.random.default_rng(num_rows)
    cases = 40
    query = rng.integers(0, 2, (cases, 1, num_bits))
    database = rng.integers(0, 2, (cases, num_rows, num_bits))
    labels = rng.integers(0, 2, (cases, num_rows))
    query_labels = np.ones((cases, 1), np.int64)

    expected = {(*option, ties): [] for option in OPTIONS for ties in ("expected", "optimistic", "pessimistic")}
    for case in range(cases):
        distances = (database[case] != query[case]).sum(axis=1).tolist()
        orders = list(all_orders(distances, labels[case].tolist()))
        for option in OPTIONS:
            values = [order_precision(order, *option) for order in orders]
            nothing = not labels[case].any()
            expected[*option, "expected"].append(math.nan if nothing else float(sum(values) / len(values)))
            expected[*option, "optimistic"].append(math.nan if nothing else float(max(values)))
            expected[*option, "pessimistic"].append(math.nan if nothing else float(min(values)))

    def one(*data):
        return [
            mean_average_precision(*data, top_k=top_k, ties=ties, denominator=denominator)
            for top_k, denominator, ties in expected
        ]

    results = jax.jit(jax.vmap(one))(query, database, query_labels, labels)
    for options, got in zip(expected, results):
        np.testing.assert_allclose(got, expected[options], rtol=2e-6, atol=1e-7, err_msg=str(options))


def test_rank_by_rank_oracle_equals_enumeration():
    # The oracle of the large cases below is itself held against the enumeration.
    rng = np.random.default_rng(3)
    for _ in range(20):
        distances, relevant = rng.integers(0, 3, 6), rng.integers(0, 2, 6)
        total = [int((distances == d).sum()) for d in range(3)]
        hits = [int(relevant[distances == d].sum()) for d in range(3)]
        orders = list(all_orders(distances.tolist(), relevant.tolist()))
        for option in OPTIONS:
            mean = sum(order_precision(order, *option) for order in orders) / len(orders)
            assert rank_by_rank_precision(total, hits, *option) == pytest.approx(float(mean), abs=1e-12)


def test_equals_sklearn_without_ties():
    rng = np.random.default_rng(0)
    num_bits, num_rows = 70, 60
    rules = ("expected", "optimistic", "pessimistic", "stable")
    under_all_rules = jax.jit(lambda *data: [mean_average_precision(*data, ties=ties) for ties in rules])
    for _ in range(5):
        query = rng.integers(0, 2, num_bits)
        distances = rng.permutation(num_bits + 1)[:num_rows]
        database = np.stack([query ^ (rng.permutation(num_bits) < d) for d in distances])
        labels = rng.integers(0, 3, num_rows)
        relevant = labels == labels[0]
        expected = average_precision_score(relevant, -distances)
        values = under_all_rules(query[None], database, labels[:1], labels)
        np.testing.assert_allclose(values, [expected] * len(rules), rtol=0, atol=1e-6)


def test_bounds_enclose_the_expectation():
    rng = np.random.default_rng(1)
    total = rng.integers(0, 200, (64, 20)) * rng.integers(0, 2, (64, 20))
    counts = counts_of(total, rng.binomial(total, 0.3))
    for top_k in (None, 1, 7, 300):
        low, mean, high = (
            np.asarray(jitted_average_precision(counts, top_k=top_k, ties=ties))
            for ties in ("pessimistic", "expected", "optimistic")
        )
        assert (low <= mean + 1e-6).all()
        assert (mean <= high + 1e-6).all()
        assert (low >= -1e-6).all()
        assert (high <= 1 + 1e-6).all()
        assert (high - low).max() > 0.01  # the cases do have ties


def large_counts():
    """Databases of 200,000 rows as count rows ``[8, 256]``: early and late hits, wide blocks and single rows."""
    rng = np.random.default_rng(0)
    rows = 200_000
    cases = []

    # Like learned codes: binomial distances, relevant rows nearer.
    near = np.bincount(rng.binomial(64, 0.25, rows // 10), minlength=256)
    far = np.bincount(rng.binomial(64, 0.5, rows - rows // 10), minlength=256)
    cases.append((near + far, near))
    # Like random codes: relevance does not depend on the distance.
    total = np.bincount(rng.binomial(64, 0.5, rows), minlength=256)
    cases.append((total, rng.binomial(total, 0.1)))
    # One wide block, then 255 blocks of one row, every other one relevant.
    total, hits = np.ones(256, int), np.arange(256) % 2
    total[0] = rows - 255
    cases.append((total, hits))
    # The same with hits in the wide block, too.
    cases.append((total, np.where(np.arange(256) == 0, 20_000, hits)))
    # Short blocks of every length from 1 to 40, far down the ranking, all or partly relevant.
    total = np.arange(256) % 40 + 1
    total[0] = rows - total[1:].sum()
    hits = total.copy()
    hits[0] = 0
    cases.append((total, hits))
    cases.append((total, np.where(np.arange(256) == 0, 5, (total + 1) // 2)))
    # Everything tied; and one relevant row, the very last.
    cases.append((np.array([rows] + [0] * 255), np.array([777] + [0] * 255)))
    cases.append((np.array([rows - 1] + [0] * 254 + [1]), np.array([0] * 255 + [1])))
    total, relevant = (np.stack(x) for x in zip(*cases))
    assert (total.sum(axis=1) == rows).all() and (relevant <= total).all()
    return total, relevant


@pytest.mark.parametrize("top_k", [None, 5000, 199_990])
def test_float32_accuracy_at_200000_rows(top_k):
    total, relevant = large_counts()
    counts = counts_of(total, relevant)
    expected = [rank_by_rank_precision(c, r, top_k) for c, r in zip(total.tolist(), relevant.tolist())]
    np.testing.assert_allclose(jitted_average_precision(counts, top_k=top_k), expected, rtol=0, atol=2e-6)
    for ties, first in (("optimistic", True), ("pessimistic", False)):
        placed = [placed_precision(c, r, first, top_k) for c, r in zip(total.tolist(), relevant.tolist())]
        np.testing.assert_allclose(jitted_average_precision(counts, top_k=top_k, ties=ties), placed, rtol=0, atol=2e-6)


@pytest.mark.parametrize("start", [0, 1, 7, 8, 100, 12_345, 1_000_000])
def test_block_sums_equal_exact_sums(start):
    lengths = [0, 1, 2, 7, 8, 9, 10, 17, 100, 5000, 200_000]
    s1, s2 = block_sums(jnp.full(len(lengths), start, jnp.int32), jnp.asarray(lengths, jnp.int32))
    exact_s1 = [math.fsum(1.0 / (start + i) for i in range(1, length + 1)) for length in lengths]
    exact_s2 = [math.fsum((i - 1) / (start + i) for i in range(1, length + 1)) for length in lengths]
    np.testing.assert_allclose(s1, exact_s1, rtol=1e-6, atol=0)
    np.testing.assert_allclose(s2, exact_s2, rtol=3e-6, atol=0)


def test_small_values_keep_their_digits_and_their_order():
    # Nine relevant rows behind 100,000 others: 1/9 sum of i / (100,000 + i) = 4.99968e-5, whatever the ties' order.
    counts = counts_of([100_000, 9], [0, 9])
    exact = sum(i / (100_000 + i) for i in range(1, 10)) / 9
    low, middle, high = (
        float(jitted_average_precision(counts, ties=ties)) for ties in ("pessimistic", "expected", "optimistic")
    )
    np.testing.assert_allclose([low, middle, high], exact, rtol=1e-6)


def test_any_leading_shape():
    rng = np.random.default_rng(5)
    total = rng.integers(0, 9, (2, 3, 5))
    counts = counts_of(total, rng.binomial(total, 0.5))
    values = jitted_average_precision(counts, top_k=6)
    assert values.shape == (2, 3)
    single = jitted_average_precision(counts_of(counts.total[1, 2], counts.relevant[1, 2]), top_k=6)
    np.testing.assert_allclose(values[1, 2], single, rtol=1e-6)


def test_nothing_relevant():
    counts = counts_of([[2, 1], [2, 1]], [[0, 0], [0, 1]])
    # Second query: its hit is row 3 of 3, 1/3. The first one is 0 by convention and left out of the mean.
    np.testing.assert_allclose(jitted_average_precision(counts), [0, 1 / 3], rtol=1e-6)
    np.testing.assert_array_equal(has_relevant(counts), [False, True])
    values = jnp.array([jnp.nan, 0.25])
    assert float(mean_over_queries(values, counts, jnp.array([1, 1]))) == 0.25
    assert math.isnan(float(mean_over_queries(values, counts, jnp.array([1, 0]))))


def test_query_weights_are_multiplicities():
    counts = counts_of([[1, 1]] * 3, [[1, 0]] * 3)
    # Values .1, .4, .7 standing for 2, 1 and 0 queries: (.2 + .4) / 3 = .2.
    mean = mean_over_queries(jnp.array([0.1, 0.4, 0.7]), counts, jnp.array([2, 1, 0]))
    assert float(mean) == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [({"ties": "random"}, "random"), ({"denominator": "max"}, "max"), ({"top_k": 0}, "top_k=0"), ({"top_k": -3}, "-3")],
)
def test_refuses_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        average_precision(counts_of([[1]], [[1]]), **options)
