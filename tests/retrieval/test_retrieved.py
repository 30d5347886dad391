"""Tests of the denominator "relevant among the first R": enumeration, Monte Carlo, float64 sums at scale."""

import functools
import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from drlhash_jax.retrieval import average_precision, count_by_distance, mean_average_precision
from drlhash_jax.retrieval.metrics import pack_rows
from drlhash_jax.types import DistanceCounts

NUM_CASES = 60  # every small test has this many rows, so that they share what is compiled
RULES = ("expected", "optimistic", "pessimistic")
jitted_expected = jax.jit(functools.partial(average_precision, denominator="retrieved"), static_argnames="top_k")
jitted_map = jax.jit(mean_average_precision, static_argnames=("top_k", "ties", "denominator"))


@functools.partial(jax.jit, static_argnames="top_k")
def by_rule(counts, top_k):
    """Average precision under each of the tie rules, along a last axis."""
    rules = (average_precision(counts, top_k=top_k, ties=ties, denominator="retrieved") for ties in RULES)
    return jnp.stack(list(rules), axis=-1)


def counts_of(total, relevant):
    return DistanceCounts(jnp.asarray(total, jnp.int32), jnp.asarray(relevant, jnp.int32))


def precision_of_order(relevant, top_k):
    """Sum of precisions at the hits among the first top_k rows, over their number; 0 without a hit."""
    hits = [rank for rank, is_relevant in enumerate(relevant[:top_k], start=1) if is_relevant]
    return sum((Fraction(i, rank) for i, rank in enumerate(hits, start=1)), Fraction(0)) / max(len(hits), 1)


def all_rankings(total, relevant):
    """Every distinct placement of the relevant rows inside the blocks, all equally likely."""
    blocks = []
    for c, r in zip(total, relevant):
        blocks.append([[int(i in chosen) for i in range(c)] for chosen in itertools.combinations(range(c), r)])
    for parts in itertools.product(*blocks):
        yield [x for part in parts for x in part]


def test_golden_fewer_hits_can_be_worth_more():
    # One hit at rank 1, one miss, then a block of two rows with one hit, cut after its first row (R = 3).
    # Hit inside: (1 + 2/3) / 2 = 5/6. Outside: 1 / 1. Mean 11/12; the value with the hit first is the smaller one.
    counts = counts_of([[1, 1, 2]] * NUM_CASES, [[1, 0, 1]] * NUM_CASES)
    np.testing.assert_allclose(by_rule(counts, 3)[0], [11 / 12, 1, 5 / 6], rtol=1e-6)


@pytest.mark.parametrize("top_k", [3, 7, 13])
def test_equals_enumeration_of_tie_orders(top_k):
    rng = np.random.default_rng(0)
    totals = rng.integers(0, 5, (NUM_CASES, 3))
    hits = rng.binomial(totals, rng.choice([0.2, 0.5, 1.0], (NUM_CASES, 1)))
    expected = []
    for total, relevant in zip(totals, hits):
        values = [precision_of_order(order, top_k) for order in all_rankings(total, relevant)]
        expected.append([float(sum(values) / len(values)), float(max(values)), float(min(values))])
    np.testing.assert_allclose(by_rule(counts_of(totals, hits), top_k), expected, rtol=2e-6, atol=1e-7)


def block_terms(start, length):
    return 1.0 / (start + np.arange(1, length + 1, dtype=np.float64))


def long_sums(total, relevant, top_k):
    """Expectation and bounds in float64: every x of the straddling block by itself, with SciPy's probabilities."""
    ends = np.cumsum(total)
    cut = int(np.searchsorted(ends, top_k))
    C, R = int(ends[cut] - total[cut]), int(np.sum(relevant[:cut]))
    before = np.zeros(3)
    rows = hits = 0
    for c, r in zip(total[:cut], relevant[:cut]):
        i = np.arange(1, c + 1)
        terms = block_terms(rows, c)
        if r:
            before[0] += math.fsum(r / c * (hits + 1 + (i - 1) * (r - 1) / max(c - 1, 1)) * terms)
            before[1] += math.fsum((hits + i[:r]) * terms[:r])
            before[2] += math.fsum((hits + i[:r]) * terms[c - r :])
        rows, hits = rows + c, hits + r
    c, r, T = int(total[cut]), int(relevant[cut]), top_k - C
    x = np.arange(max(0, T - (c - r)), min(r, T) + 1)
    terms = block_terms(C, T)
    s1 = math.fsum(terms)
    s2 = math.fsum(np.arange(T) * terms)
    inside = x / T * ((R + 1) * s1 + (x - 1) / max(T - 1, 1) * s2)
    first = np.concatenate([[0], np.cumsum((R + np.arange(1, T + 1)) * terms)])[x]
    # Hits last: position T - x + j holds hit j, so the sum is that of (R + j) terms[T - x + j - 1].
    tail = np.concatenate([[0], np.cumsum(terms[::-1])])
    places = np.concatenate([[0], np.cumsum(np.arange(T, 0, -1) * terms[::-1])])
    last = (R - T + x) * tail[x] + places[x]
    divisor = np.maximum(R + x, 1)
    mean = math.fsum(stats.hypergeom(c, r, T).pmf(x) * (before[0] + inside) / divisor)
    return mean, np.max((before[1] + first) / divisor), np.min((before[2] + last) / divisor)


def large_cases():
    """(rows, relevant rows) by distance, 200,000 rows each."""
    rng = np.random.default_rng(1)
    rows = 200_000
    near = np.bincount(rng.binomial(64, 0.25, rows // 10), minlength=65)
    far = np.bincount(rng.binomial(64, 0.5, rows - rows // 10), minlength=65)
    yield near + far, near  # like learned codes
    total = np.bincount(rng.binomial(64, 0.5, rows), minlength=65)
    yield total, rng.binomial(total, 0.1)  # like random codes
    yield total, rng.binomial(total, 1e-4)  # hardly anything relevant
    yield np.array([rows] + [0] * 64), np.array([100_000] + [0] * 64)  # everything tied
    yield np.array([rows] + [0] * 64), np.array([3] + [0] * 64)
    yield np.array([1000, rows - 1000] + [0] * 63), np.array([1000, 50_000] + [0] * 63)
    yield np.array([1000, rows - 1000] + [0] * 63), np.array([0, 199_000] + [0] * 63)  # hits last in every order


@pytest.mark.parametrize("top_k", [100, 60_000])
def test_float32_accuracy_at_200000_rows(top_k):
    cases = list(large_cases())
    expected = [long_sums(total, relevant, top_k) for total, relevant in cases]
    counts = counts_of(*(np.stack(x) for x in zip(*cases)))
    np.testing.assert_allclose(by_rule(counts, top_k), expected, rtol=5e-6, atol=1e-7)


def test_long_sums_equal_enumeration():
    # The oracle of the large cases is itself held against the enumeration.
    for top_k in (2, 4, 6):
        for total, relevant in (([1, 4, 3], [1, 2, 1]), ([2, 0, 6], [0, 0, 4]), ([8, 0, 0], [3, 0, 0])):
            values = [float(precision_of_order(order, top_k)) for order in all_rankings(total, relevant)]
            got = long_sums(np.array(total), np.array(relevant), top_k)
            np.testing.assert_allclose(got, [np.mean(values), max(values), min(values)], rtol=1e-12)


def test_equals_monte_carlo():
    # A block of 400 rows with 90 relevant ones straddles rank 150, after 60 rows of which 25 are relevant.
    rng = np.random.default_rng(2)
    total, relevant, top_k = np.array([60, 400, 40]), np.array([25, 90, 3]), 150
    values = []
    for _ in range(4000):
        order = np.concatenate([rng.permutation(np.arange(c) < r) for c, r in zip(total, relevant)])[:top_k]
        values.append(np.sum(order * np.cumsum(order) / np.arange(1, top_k + 1)) / order.sum())
    got = float(jitted_expected(counts_of(total, relevant), top_k=top_k))
    error = np.std(values) / math.sqrt(len(values))
    assert abs(got - np.mean(values)) < 4 * error
    assert error < 2e-3


@pytest.mark.parametrize("kind", ["integer", "multi_hot"])
@pytest.mark.parametrize("top_k", [7, None])
def test_stable_order_divides_by_what_it_finds(kind, top_k):
    rng = np.random.default_rng(5)
    query, database = rng.integers(0, 2, (20, 5)), rng.integers(0, 2, (60, 5))
    if kind == "integer":
        query_labels, labels = rng.integers(0, 9, 20), rng.integers(1, 9, 60)
        shared = query_labels[:, None] == labels
    else:
        query_labels, labels = (rng.random((n, 12)) < 0.15 for n in (20, 60))
        shared = (query_labels.astype(int) @ labels.T.astype(int)) > 0
    values = []
    for code, relevant in zip(query, shared):
        order = np.argsort((database != code).sum(axis=1), kind="stable")
        values.append(float(precision_of_order(relevant[order], top_k)))
    expected = np.mean(np.array(values)[shared.any(axis=1)])
    data = query, database, query_labels, labels
    got = float(jitted_map(*data, top_k=top_k, ties="stable", denominator="retrieved"))
    assert got == pytest.approx(expected, abs=1e-6)
    if kind == "integer" and top_k == 7:
        counts = jax.jit(count_by_distance, static_argnames="max_distance")(
            pack_rows(query, query_labels), pack_rows(database, labels), max_distance=5
        )
        mean, high, low = np.mean(np.asarray(by_rule(counts, top_k))[shared.any(axis=1)], axis=0)
        assert low < got < high and low < mean < high


def test_any_leading_shape_and_nothing_relevant():
    counts = counts_of(np.full((NUM_CASES, 3), 5), np.zeros((NUM_CASES, 3)))
    np.testing.assert_array_equal(by_rule(counts, 7), np.zeros((NUM_CASES, 3)))
    for shape in ((), (2, 3)):
        counts = counts_of(np.ones((*shape, 4)), np.ones((*shape, 4)))
        assert jax.eval_shape(functools.partial(by_rule, top_k=7), counts).shape == (*shape, 3)
