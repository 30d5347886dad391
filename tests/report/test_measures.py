"""Numbers of the report, computed by hand."""

import numpy as np
import pytest

from drlhash_jax.report.measures import (
    CodeCurves,
    code_curves,
    code_health,
    mean_curves,
    mean_scalars,
    rank_grid,
    relevance,
)


def test_golden_curves():
    # One query 00 of class 0; rows at distances 0, 1, 2 of classes 0, 1, 0.
    database = np.array([[0, 0], [0, 1], [1, 1]], np.uint8)
    curves = code_curves(np.zeros((1, 2), np.uint8), database, np.array([0]), np.array([0, 1, 0]), (1, 2, 3))
    np.testing.assert_allclose(curves.precision, [1, 1 / 2, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(curves.recall, [1 / 2, 1 / 2, 1], rtol=1e-6)
    np.testing.assert_allclose(curves.precision_at, [1, 1 / 2, 2 / 3], rtol=1e-6)
    # (1/1 + 2/3) / 2.
    assert curves.map == pytest.approx(5 / 6)


def test_curves_count_equal_rows_and_leave_out_queries_with_nothing_to_find():
    # The second query is of a class that no row has; the first two are equal, and meet an empty ball at radius 0.
    query = np.array([[0, 0], [1, 1], [0, 0]], np.uint8)
    database = np.array([[0, 1], [0, 1], [1, 1]], np.uint8)
    curves = code_curves(query, database, np.array([0, 7, 0]), np.array([0, 1, 1]), (1, 2))
    np.testing.assert_allclose(curves.precision, [0, 1 / 2, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(curves.recall, [0, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(curves.precision_at, [1 / 2, 1 / 2], rtol=1e-6)
    # The hit is at rank 1 or 2: (1 + 1/2) / 2.
    assert curves.map == pytest.approx(3 / 4)


def test_mean_curves():
    one = CodeCurves(np.float32(0.5), *[np.array([0.0, 1.0])] * 3)
    two = CodeCurves(np.float32(1.0), *[np.array([1.0, 1.0])] * 3)
    mean = mean_curves([one, two])
    assert mean.map == 0.75 and all(values.tolist() == [0.5, 1.0] for values in mean[1:])


def test_rank_grid():
    assert rank_grid(3) == (1, 2, 3)
    # Steps of 49.95 from 1 to 1000.
    assert rank_grid(54_000)[:3] == (1, 51, 101) and rank_grid(54_000)[-1] == 1000 and len(rank_grid(54_000)) == 21


def test_golden_health():
    codes = np.array([[0, 0], [0, 0], [1, 0], [1, 1]], np.uint8)
    health = code_health(codes, np.array([0, 0, 1, 1]))
    # A quarter of ones: 2 - 3/4 log2 3 = .811278 bits.
    assert health["entropy"] == pytest.approx((1 + 0.811278) / 2) and health["least entropy"] == pytest.approx(0.811278)
    # (4 * 1 - 2 * 1) / sqrt(2 * 2 * 1 * 3).
    assert health["|correlation|"] == pytest.approx(2 / 12**0.5)
    assert (health["bits"], health["distinct codes"], health["fullest bucket"], health["rows alone"]) == (2, 3, 2, 0.5)
    # One of six pairs has equal codes, and its rows share their class.
    assert (health["pairs alike"], health["of one label"]) == (pytest.approx(1 / 6), 1.0)
    assert np.isnan(code_health(codes, None)["of one label"])
    # A bit that never changes correlates with none.
    assert np.isnan(code_health(codes * [[1, 0]], None)["|correlation|"])


def test_relevance():
    assert relevance(np.array([0, -1]), np.array([0, 1, -1])).tolist() == [[True, False, False], [False] * 3]
    multi = relevance(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[0, 1, 1], [0, 0, 1]]))
    assert multi.tolist() == [[True, False], [False, False]]


def test_scalars_are_averaged_as_far_as_all_runs_reach():
    runs = [{"mean_reward": np.array([1.0, 2.0, 9.0])}, {"mean_reward": np.array([3.0, 4.0])}]
    assert mean_scalars(runs, "mean_reward").tolist() == [2.0, 3.0]
