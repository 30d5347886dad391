"""Tests of NDCG: golden numbers, enumeration of tie orders, scikit-learn, accuracy at scale."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from drlhash_jax.retrieval import ndcg_at_n
from drlhash_jax.retrieval.gains import GainCounts, count_gains, discount_sums, ndcg_at
from drlhash_jax.retrieval.metrics import pack_rows

jitted_ndcg = jax.jit(ndcg_at)


def dcg(gains, n):
    """Of one fixed order."""
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:n], start=1))


def one_query(distances, gains, num_distances, max_shared):
    """GainCounts ``[1, ...]`` by plain counting."""
    pairs = list(zip(distances, gains))
    by_distance = [[gain for d, gain in pairs if d == distance] for distance in range(num_distances)]
    return GainCounts(
        jnp.array([[len(block) for block in by_distance]]),
        jnp.array([[sum(gain > 0 for gain in block) for block in by_distance]]),
        jnp.array([[sum(block) for block in by_distance]]),
        jnp.array([[sum(gain == g for _, gain in pairs) for g in range(max_shared + 1)]]),
    )


def test_golden_numbers():
    # Distances 0, 1, 1 with gains 1, 2, 0. Discounts 1, 1/log2 3 = .63093, 1/2. The block of two has gain 1 at each of
    # its ranks: DCG@2 = 1 + .63093, DCG@3 = 1 + .63093 + .5; best order 2, 1, 0: 2 + .63093 at 2 and at 3.
    counts = one_query([0, 1, 1], [1, 2, 0], 2, 2)
    got = jitted_ndcg(counts, jnp.array([1, 2, 3]), discount_sums(3))
    np.testing.assert_allclose(got, [[1 / 2, 1.63092975 / 2.63092975, 2.13092975 / 2.63092975]], rtol=1e-6)


def test_equals_enumeration_of_tie_orders():
    rng = np.random.default_rng(0)
    ranks = np.array([1, 2, 4, 6])
    for _ in range(12):
        distances, gains = rng.integers(0, 3, 6), rng.integers(0, 4, 6)
        blocks = [[int(g) for d, g in zip(distances, gains) if d == distance] for distance in range(3)]
        orders = [sum(parts, ()) for parts in itertools.product(*(itertools.permutations(block) for block in blocks))]
        best = sorted(gains.tolist(), reverse=True)
        expected = [
            sum(dcg(order, n) for order in orders) / len(orders) / dcg(best, n) if any(best) else 0.0 for n in ranks
        ]
        got = jitted_ndcg(one_query(distances, gains, 3, 3), jnp.asarray(ranks), discount_sums(6))
        np.testing.assert_allclose(got[0], expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["integer", "multi_hot"])
def test_equals_sklearn_with_ties(kind):
    rng = np.random.default_rng(1)
    query, database = rng.integers(0, 2, (9, 6)), rng.integers(0, 2, (70, 6))
    if kind == "integer":
        query_labels, labels = rng.integers(0, 4, 9), rng.integers(0, 4, 70)
        gains = (query_labels[:, None] == labels).astype(int)
    else:
        query_labels, labels = ((rng.random((n, 40)) < 0.2).astype(np.int64) for n in (9, 70))
        query_labels[3] = 0
        gains = query_labels @ labels.T
        assert gains.max() > 2
    distances = (query[:, None] != database).sum(axis=2)
    counted = gains.any(axis=1)
    ranks = np.array([1, 5, 50, 70])
    expected = [ndcg_score(gains[counted], -distances[counted], k=n) for n in ranks]
    got = jax.jit(ndcg_at_n)(query, database, query_labels, labels, ranks)
    np.testing.assert_allclose(got, expected, rtol=2e-6)


def test_counts_equal_loop_and_respect_weights():
    rng = np.random.default_rng(2)
    query, database = rng.integers(0, 2, (5, 4)), rng.integers(0, 2, (30, 4))
    query_labels, labels = (rng.random((5, 9)) < 0.4).astype(int), (rng.random((30, 9)) < 0.4).astype(int)
    weights = rng.integers(0, 4, 30)
    count = jax.jit(count_gains, static_argnames=("max_distance", "max_shared"))
    rows = pack_rows(database, labels, jnp.asarray(weights))
    got = count(pack_rows(query, query_labels), rows, max_distance=4, max_shared=9)
    repeated = np.repeat(np.arange(30), weights)
    for i in range(5):
        distances = (query[i] != database[repeated]).sum(axis=1)
        expected = one_query(distances, labels[repeated] @ query_labels[i], 5, 9)
        for mine, its in zip(got, expected):
            np.testing.assert_array_equal(mine[i], its[0])


def test_float32_accuracy_at_200000_rows():
    rng = np.random.default_rng(3)
    rows = 200_000
    distances = rng.binomial(64, 0.5, rows)
    distances[:1000] = rng.integers(20, 25, 1000)
    gains = rng.binomial(6, np.where(distances < 30, 0.2, 0.02))
    order = np.argsort(distances, kind="stable")
    # Each row gets the mean gain of its block, one rank after the other in float64.
    mean = np.bincount(distances, gains, 65) / np.maximum(np.bincount(distances, minlength=65), 1)
    discount = 1 / np.log2(np.arange(2, rows + 2))
    ranks = np.array([1, 100, 5000, 123_456, 200_000])
    reached, best = mean[distances[order]] * discount, np.sort(gains)[::-1] * discount
    expected = [math.fsum(reached[:n]) / math.fsum(best[:n]) for n in ranks]
    total = np.bincount(distances, minlength=65)
    gain = np.bincount(distances, gains, 65)
    counts = GainCounts(*(jnp.asarray(x[None], jnp.int32) for x in (total, total, gain, np.bincount(gains))))
    got = jitted_ndcg(counts, jnp.asarray(ranks), discount_sums(rows))
    np.testing.assert_allclose(got[0], expected, rtol=2e-6)
    # One row far down: the two sums around it agree in five digits.
    lonely = GainCounts(*(jnp.array([x]) for x in ([rows - 1, 1], [0, 1], [0, 1], [rows - 1, 1])))
    got = jitted_ndcg(lonely, jnp.array([rows]), discount_sums(rows))
    np.testing.assert_allclose(got, [[discount[-1]]], rtol=1e-5)


def test_nothing_relevant_is_zero():
    counts = one_query([0, 1], [0, 0], 2, 1)
    np.testing.assert_array_equal(jitted_ndcg(counts, jnp.array([1, 2]), discount_sums(2)), [[0, 0]])
