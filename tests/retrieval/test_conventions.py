"""Tests of other repositories' mAP against loops written from what their code does, and against hand-made cases."""

import math

import numpy as np
import pytest

from drlhash_jax.retrieval import CONVENTIONS, Convention, evaluate_queries, reproduce_map

NUM_ROWS = 60


def make_data(kind="multi_hot"):
    """Codes with ties, a query without anything relevant, and some whose relevant rows are all far away."""
    rng = np.random.default_rng(0)
    query, database = rng.integers(0, 2, (14, 8)), rng.integers(0, 2, (NUM_ROWS, 8))
    if kind == "integer":
        query_labels, labels = rng.integers(0, 6, 14), rng.integers(0, 6, NUM_ROWS)
        query_labels[0] = 77
    else:
        query_labels, labels = ((rng.random((n, 12)) < 0.12).astype(np.int64) for n in (14, NUM_ROWS))
        query_labels[0] = 0
    # The last query's relevant rows are the complement of its code.
    query[-1] = 0
    rare = 9 if kind == "integer" else np.eye(12, dtype=np.int64)[11]
    if kind == "multi_hot":
        query_labels[:-1, 11] = labels[:, 11] = 0
    query_labels[-1] = rare
    database[-2:], labels[-2:] = 1, rare
    return query, database, query_labels, labels


def ranked_relevance(data):
    query, database, query_labels, labels = data
    for code, label in zip(query, query_labels):
        order = np.argsort((code != database).sum(axis=1), kind="stable")
        relevant = labels == label if labels.ndim == 1 else (labels @ label) > 0
        yield relevant[order]


def mean_of_hits(relevant):
    """Mean over the hits, the i-th at rank k, of i / k."""
    ranks = np.flatnonzero(relevant) + 1
    return np.mean(np.arange(1, len(ranks) + 1) / ranks)


def loop_that_slices(data, top_k):
    """DeepHash-pytorch, TreezzZ, ADSH's calc_topMap: gnd[0:topk], and queries without a hit add nothing."""
    values = [mean_of_hits(cut) if cut.any() else 0.0 for cut in (row[0:top_k] for row in ranked_relevance(data))]
    return sum(values) / len(values)


def loop_that_skips(data, top_k):
    """HashNet and thulab: a list of values, without an entry where nothing is found."""
    values = [mean_of_hits(row[:top_k]) for row in ranked_relevance(data) if row[:top_k].any()]
    return np.mean(values)


LOOPS = {
    "deephash_pytorch": lambda data: loop_that_slices(data, -1),
    "treezzz": lambda data: loop_that_slices(data, -1),
    "hashnet_5000": lambda data: loop_that_skips(data, 5),
    "thulab_deephash": lambda data: loop_that_skips(data, NUM_ROWS),
    "orthohash_1000": lambda data: loop_that_slices(data, 5),
    "fire": lambda data: loop_that_slices(data, NUM_ROWS),
    "adsh": lambda data: loop_that_slices(data, NUM_ROWS),
}


@pytest.mark.parametrize("name", LOOPS)
def test_presets_equal_loops(name):
    data = make_data()
    convention = CONVENTIONS[name]
    if convention.top_k is not None:
        convention = convention._replace(top_k=5)
    assert reproduce_map(*data, reproduce=convention) == pytest.approx(LOOPS[name](data), abs=1e-6)


def test_integer_labels():
    data = make_data("integer")
    assert reproduce_map(*data, reproduce="deephash_pytorch") == pytest.approx(loop_that_slices(data, -1), abs=1e-6)


def test_the_conventions_differ():
    data = make_data()
    values = [loop_that_slices(data, -1), loop_that_slices(data, NUM_ROWS), loop_that_slices(data, 5)]
    values += [loop_that_skips(data, 5), loop_that_skips(data, NUM_ROWS)]
    assert len({round(value, 5) for value in values}) == len(values)


def test_expected_ties_of_talr():
    # All tied, one relevant of two rows: (1 + 1/2) / 2 = 3/4; the other query finds nothing and counts 0.
    codes, labels = np.zeros((2, 4), int), np.array([0, 1])
    assert reproduce_map(codes, codes, np.array([0, 5]), labels, reproduce="talr") == pytest.approx(3 / 8)


def test_dropping_the_last_row_can_lose_the_only_hit():
    query, database = np.zeros((1, 2), int), np.array([[0, 0], [1, 1]])
    data = query, database, np.array([1]), np.array([0, 1])
    assert reproduce_map(*data, reproduce="deephash_pytorch") == 0
    assert reproduce_map(*data, reproduce="fire") == pytest.approx(1 / 2)
    assert math.isnan(reproduce_map(query, database, np.array([7]), np.array([0, 1]), reproduce="thulab_deephash"))


def test_every_preset_names_its_source():
    repositories = ("/DeepHash", "thuml/HashNet", "TreezzZ", "orthohash", "FIRe", "jiangqy", "HBS-RL", "TALR")
    for name, convention in CONVENTIONS.items():
        assert any(each in convention.source for each in repositories), name
        assert name.endswith(str(convention.top_k)) == (convention.top_k is not None), name
        assert not convention.drops_last or convention.top_k is None, name


def test_own_convention_between_the_bounds():
    data = make_data()
    own = Convention(9, "stable", "retrieved", "zero", False, "ours")
    value = reproduce_map(*data, reproduce=own)
    metrics = evaluate_queries(*data, top_k=9, denominator="retrieved", ranks=(), recall_levels=())
    low, high = metrics.average_precision_pessimistic.mean(), metrics.average_precision_optimistic.mean()
    assert low < value < high
    # With a cut and the expectation, the preset is the plain mean over all queries.
    value = reproduce_map(*data, reproduce=own._replace(ties="expected"))
    assert value == pytest.approx(float(metrics.average_precision.mean()), abs=1e-6)


@pytest.mark.parametrize(
    "reproduce, message",
    [
        ("hashnet", "reproduce='hashnet': choose one of .*hashnet_5000"),
        ("hashnet_5000", "top_k=5000: the database has only 60 rows"),
        (CONVENTIONS["adsh"]._replace(ties="random"), "ties='random'"),
        (CONVENTIONS["adsh"]._replace(hitless="one"), "hitless='one'"),
        (CONVENTIONS["adsh"]._replace(denominator="one"), "denominator='one'"),
    ],
)
def test_refuses_what_it_does_not_know(reproduce, message):
    with pytest.raises(ValueError, match=message):
        reproduce_map(*make_data(), reproduce=reproduce)
    one = np.zeros((1, 2), int)
    with pytest.raises(ValueError, match="at least 2 rows"):
        reproduce_map(one, one, np.array([0]), np.array([0]), reproduce="treezzz")
