"""Tests of bootstrap intervals against enumerated resamples and SciPy."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from drlhash_jax.retrieval import bootstrap_interval

KEY = jax.random.key(0)
interval = jax.jit(bootstrap_interval, static_argnames=("num_resamples", "level"))


def test_equals_enumerated_resamples():
    # All 4^4 resamples of four values; the quantiles lie inside flat steps of the distribution.
    values = np.array([0.1, 0.2, 0.4, 0.9], np.float32)
    means = np.sort([np.mean(each) for each in itertools.product(values, repeat=4)])
    got = interval(KEY, values, num_resamples=4096, level=0.8)
    np.testing.assert_allclose(got, np.quantile(means, [0.1, 0.9]), atol=0.02)


def test_equals_scipy_and_the_normal_interval():
    values = np.random.default_rng(0).beta(2, 3, 400).astype(np.float32)
    low, high = (float(end) for end in interval(KEY, values, num_resamples=2048))
    other = stats.bootstrap((values,), np.mean, n_resamples=2048, method="percentile", rng=0).confidence_interval
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose([low, high], [other.low, other.high], atol=0.1 * half)
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.1 * half)


def test_columns_are_resampled_together_and_the_seed_decides():
    values = np.random.default_rng(1).random((50, 2)).astype(np.float32)
    both = interval(KEY, values, num_resamples=128)
    assert both.shape == (2, 2)
    for column in range(2):
        alone = interval(KEY, values[:, column], num_resamples=128)
        np.testing.assert_allclose(both[:, column], alone, rtol=1e-5)
    # Paired columns: their difference is constant in every resample.
    shifted = interval(KEY, np.stack([values[:, 0], values[:, 0] + 1], axis=1), num_resamples=128)
    np.testing.assert_allclose(shifted[:, 1] - shifted[:, 0], 1, rtol=1e-5)
    assert not np.allclose(interval(jax.random.key(1), values, num_resamples=128), both)


def test_wider_levels_and_constant_values():
    values = np.random.default_rng(2).random(60).astype(np.float32)
    narrow, wide = (interval(KEY, values, num_resamples=256, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]
    # A narrow spread far from 0 keeps its digits.
    np.testing.assert_array_equal(interval(KEY, np.full(7, 0.3, np.float32), num_resamples=128), np.float32(0.3))


@pytest.mark.parametrize(
    "values, wrong, message",
    [
        (np.zeros(0), {}, "at least one query"),
        (np.zeros((2, 2, 2)), {}, "shape"),
        (np.zeros(3), {"num_resamples": 0}, "num_resamples=0"),
        (np.zeros(3), {"level": 1.0}, "level=1.0"),
        (np.zeros(3), {"level": 95}, "level=95"),
    ],
)
def test_refuses(values, wrong, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(KEY, values, **wrong)
