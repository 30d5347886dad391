"""Tests of result rows: their fields, their numbers by other ways, their intervals, and what has no definition."""

import jax
import numpy as np
import pytest

from drlhash_jax import retrieval
from drlhash_jax.evaluation import (
    EVALUATION_DEFINITIONS,
    ROBUSTNESS_DEFINITIONS,
    ROW_DEFINITIONS,
    Options,
    RunFacts,
    Task,
    metrics_content,
    result_row,
)
from drlhash_jax.evaluation.measure import measure_codes
from drlhash_jax.evaluation.result_rows import average, measure, measure_interval
from drlhash_jax.robustness import measure_robustness

FACTS = RunFacts("lsh", "digits", "balanced", 3, "mlp")


def make_data(seed=0):
    """Codes that follow their labels loosely, a query without a label and one of a class nobody else has."""
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2, (4, 12))
    query_labels, labels = rng.integers(0, 4, 30), rng.integers(0, 4, 80)
    codes = [prototypes[rows] ^ (rng.random((len(rows), 12)) < 0.25) for rows in (query_labels, labels)]
    query_labels[:2] = -1, 9
    return Task(query_labels, labels, 20), codes


def test_a_row_of_a_single_draw():
    task, codes = make_data()
    row = result_row(FACTS, task, "pool", [codes], seconds=1.23456)
    facts = {"method": "lsh", "role": "pool", "selector": "none", "bits": 12, "pool_bits": 12, "dataset": "digits"}
    facts |= {"protocol": "balanced", "seed": 3, "encoder": "mlp", "map_at": 20, "seconds": 1.235, "n_database": 80}
    assert facts.items() <= row.items()
    assert (row["n_query"], row["n_query_without_relevant"]) == (28, 2)
    arrays = *codes, task.query_labels, task.database_labels
    for field, ties in (("map", "expected"), ("map_optimistic", "optimistic"), ("map_stable", "stable")):
        expected = retrieval.mean_average_precision(*arrays, top_k=20, ties=ties)
        assert row[field] == pytest.approx(float(expected), abs=2e-6), field
    assert 0 < row["map_pessimistic"] < row["map"]
    low, high = row["map_interval"]
    assert low < row["map"] < high
    assert row.keys() <= ROW_DEFINITIONS.keys()
    assert metrics_content([row]) == {"definitions": ROW_DEFINITIONS, "results": [row]}


def test_rows_and_evaluations_share_names_meanings_and_values():
    task, codes = make_data()
    row = result_row(FACTS, task, "direct", [codes], seconds=0.0)
    values = measure_codes(*codes, task.query_labels, task.database_labels, Options(top_k=20))
    shared = row.keys() & values.keys()
    assert shared >= {"map", "map_stable", "map_pessimistic", "map_optimistic", "map_interval", "precision_radius2"}
    for field in shared:
        assert values[field] == pytest.approx(row[field], abs=2e-6), field
        assert ROW_DEFINITIONS[field] == EVALUATION_DEFINITIONS[field]


def test_a_row_of_several_draws_is_their_mean():
    task, codes = make_data()
    draws = [[part[:, order] for part in codes] for order in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])]
    row = result_row(FACTS, task, "selected", draws, selector="random", pool_bits=12, seconds=2.0)
    each = [measure(task, *codes) for codes in draws]
    maps = [numbers["map"] for numbers in each]
    assert row["map"] == pytest.approx(np.mean(maps), abs=1e-6)
    assert row["map_sd"] == pytest.approx(np.std(maps, ddof=1), abs=1e-6)
    assert row["map_optimistic"] == pytest.approx(np.mean([numbers["map_optimistic"] for numbers in each]), abs=1e-6)
    assert (row["bits"], row["pool_bits"], row["num_draws"]) == (4, 12, 3)
    assert "map_interval" not in row and row.keys() <= ROW_DEFINITIONS.keys()
    assert average(each[:1]) == each[0]


def test_the_interval_is_over_the_queries_that_count():
    task, codes = make_data()
    arrays = *codes, task.query_labels, task.database_labels
    values = retrieval.query_precisions(*arrays, top_k=20)
    assert values.shape == (28,)
    per_query = retrieval.evaluate_queries(*arrays, top_k=20)
    np.testing.assert_allclose(values, per_query.average_precision[per_query.relevant > 0], rtol=1e-6)
    expected = retrieval.bootstrap_interval(jax.random.key(0), values)
    assert measure_interval(task, *codes) == pytest.approx(np.asarray(expected).tolist(), abs=2e-6)


def test_nothing_to_find_is_null():
    task, codes = make_data()
    row = result_row(FACTS, task._replace(query_labels=np.full(30, -1)), "pool", [codes], seconds=0.0)
    assert (row["map"], row["map_interval"], row["n_query"]) == (None, None, 0)


@pytest.mark.parametrize(
    "role, selector", [("pool", "ppo"), ("direct", "greedy"), ("selected", "none"), ("chosen", "none")]
)
def test_refuses_roles_that_are_none_or_do_not_fit(role, selector):
    task, codes = make_data()
    with pytest.raises(ValueError, match=f"role='{role}'"):
        result_row(FACTS, task, role, [codes], selector=selector, seconds=0.0)


def test_rows_of_robustness_are_defined():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    rows = measure_robustness(images, {"toy": lambda x: (x[:, 0, 0] > 99).astype(int)}, ["brightness"])
    assert all(row.keys() == ROBUSTNESS_DEFINITIONS.keys() for row in rows)
