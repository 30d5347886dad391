"""Rankings by real-valued scores: against every order of the ties, and against Hamming ranking."""

import itertools

import numpy as np
import pytest

from drlhash_jax import retrieval


def precision_of(order, relevant):
    hits = np.cumsum(relevant[order])
    return (relevant[order] * hits / np.arange(1, len(order) + 1)).sum() / max(relevant.sum(), 1)


def mean_over_orders(scores, relevant):
    """Every order of the rows that does not put a smaller score first."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            found.append(precision_of(np.array(order), relevant))
    return np.mean(found)


def test_ties_are_averaged_over_every_order():
    scores = np.array([[0.5, -1.0, 0.5, 2.0, 0.5, -1.0], [1, 1, 1, 1, 1, 1], [6, 5, 4, 3, 2, 1]], np.float32)
    query_labels, database_labels = np.array([1, 1, 0]), np.array([0, 1, 1, 0, 0, 1])
    ranked = retrieval.score_queries(lambda a, b: scores[a:b], query_labels, database_labels, chunk_size=2)
    for row, label in enumerate(query_labels):
        expected = mean_over_orders(scores[row], (database_labels == label).astype(int))
        np.testing.assert_allclose(ranked.average_precision[row], expected, rtol=1e-6)
    assert ranked.relevant.tolist() == [3, 3, 3]


@pytest.mark.parametrize("top_k", [None, 7])
def test_negative_distances_give_hamming_ranking(top_k):
    rng = np.random.default_rng(0)
    query, database = (rng.integers(0, 2, (n, 5)) for n in (9, 40))
    labels = [(rng.random((n, 3)) < 0.4).astype(np.uint8) for n in (9, 40)]
    distance = (query[:, None] != database[None]).sum(axis=2)
    ranked = retrieval.score_queries(lambda a, b: -distance[a:b], *labels, top_k=top_k, chunk_size=4)
    expected = retrieval.mean_average_precision(query, database, *labels, top_k=top_k)
    np.testing.assert_allclose(retrieval.mean_over_counted(ranked).means.average_precision, expected, rtol=1e-6)


def test_scores_that_are_none():
    labels = np.array([0, 1])
    for scores in (np.array([[0.0, np.nan], [1, 1]]), np.zeros((2, 3))):
        with pytest.raises(ValueError, match=r"scores of queries 0 to 2: must be finite and \[2, 2\]"):
            retrieval.score_queries(lambda a, b, scores=scores: scores[a:b], labels, labels)
