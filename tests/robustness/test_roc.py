"""Rates from histograms: golden numbers with their arithmetic, and sorted lists of distances as the oracle."""

from fractions import Fraction

import numpy as np
import pytest

from drlhash_jax.robustness import (
    area_under_curve,
    count_different,
    count_same,
    equal_error_rate,
    roc_curve,
    threshold_at,
)

# 10 copies and 20 pairs of different images, codes of 4 bits.
SAME = np.array([5, 3, 1, 1, 0])
DIFFERENT = np.array([0, 2, 4, 8, 6])


def random_histograms(seed, num_bits=12):
    rng = np.random.default_rng(seed)
    same = np.bincount(rng.binomial(num_bits, 0.2, 30), minlength=num_bits + 1)
    return same, np.bincount(rng.binomial(num_bits, 0.5, 70), minlength=num_bits + 1)


def distances_of(counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_golden_distances():
    codes = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]])
    attacked = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]])
    # To the copies 0, 1, 2; among the images 0-1: 2, 0-2: 4, 1-2: 2.
    assert count_same(codes, attacked).tolist() == [1, 1, 1, 0, 0]
    assert count_different(codes).tolist() == [0, 0, 2, 0, 1]


@pytest.mark.parametrize("num_bits", [1, 7, 8, 9, 64, 70])
def test_different_images_against_a_loop_over_pairs(num_bits):
    codes = np.random.default_rng(num_bits).integers(0, 2, (9, num_bits))
    expected = [0] * (num_bits + 1)
    for i in range(9):
        for j in range(i):
            expected[sum(a != b for a, b in zip(codes[i], codes[j]))] += 1
    assert count_different(codes).tolist() == expected
    assert sum(expected) == 36
    # Inverting a bit everywhere, or another order of images and bits, changes no distance.
    other = 1 - codes[::-1, ::-1]
    assert count_different(other).tolist() == expected


def test_golden_curve():
    curve = roc_curve(SAME, DIFFERENT)
    assert curve.threshold.tolist() == [-1, 0, 1, 2, 3, 4]
    assert curve.detected.tolist() == [0, 5, 8, 9, 10, 10]
    assert curve.false_positives.tolist() == [0, 0, 2, 6, 14, 20]
    assert curve.detection_rate.tolist() == [0, 0.5, 0.8, 0.9, 1, 1]
    assert curve.false_positive_rate.tolist() == [0, 0, 0.1, 0.3, 0.7, 1]


@pytest.mark.parametrize(
    "rate, expected",
    # 20 pairs: 0 at distance 0, 2 within 1, 6 within 2, 14 within 3, 20 within 4.
    [(0, 0), (0.05, 0), (0.1, 1), (0.29, 1), (0.3, 2), (0.7, 3), (0.999, 3), (1, 4)],
)
def test_golden_threshold(rate, expected):
    assert threshold_at(DIFFERENT, rate) == expected


def test_no_threshold_is_strict_enough():
    # One of two pairs has the same code: even threshold 0 has rate 1/2.
    assert threshold_at(np.array([1, 0, 1]), 0.4) == -1
    assert threshold_at(np.array([1, 0, 1]), 0.5) == 1


def test_threshold_is_not_lost_to_rounding():
    # .29 * 100 = 28.999999999999996 in floating point, yet 29 of 100 pairs are a rate of .29.
    assert 0.29 * 100 < 29
    assert threshold_at(np.array([29, 71]), 0.29) == 0
    for count in range(101):
        assert threshold_at(np.array([count, 100 - count]), count / 100) == (0 if count < 100 else 1)


def test_golden_equal_error_rate():
    # Missed .2 and wrong .1 at threshold 1, missed .1 and wrong .3 at 2. On the line between them, at the share w:
    # .1 + .2 w = .2 - .1 w, so w = 1/3 and both are .1 + .2 / 3 = 1/6.
    assert equal_error_rate(SAME, DIFFERENT) == pytest.approx(1 / 6, abs=1e-16)
    # Apart: missed 0 and wrong 0 at threshold 0.
    assert equal_error_rate(np.array([4, 0, 0]), np.array([0, 0, 9])) == 0
    # Inverted: missed 1 and wrong 1 at threshold 0.
    assert equal_error_rate(np.array([0, 0, 4]), np.array([9, 0, 0])) == 1
    # All at one distance: from (wrong 0, missed 1) to (1, 0), which meet at 1/2.
    assert equal_error_rate(np.array([0, 7, 0]), np.array([0, 3, 0])) == 0.5


def test_golden_area():
    # Pairs (copy, different image) of 200: a copy at 0 is nearer than all 20 (5 * 20); at 1 than 18 and equal to 2
    # (3 * 19); at 2 than 14 and equal to 4 (16); at 3 than 6 and equal to 8 (10). 100 + 57 + 16 + 10 = 183.
    assert area_under_curve(SAME, DIFFERENT) == 183 / 200


@pytest.mark.parametrize("seed", range(5))
def test_against_lists_of_distances(seed):
    same, different = random_histograms(seed)
    near, far = distances_of(same), distances_of(different)
    curve = roc_curve(same, different)
    for threshold, detected, wrong in zip(curve.threshold, curve.detection_rate, curve.false_positive_rate):
        assert detected == np.mean(near <= threshold) and wrong == np.mean(far <= threshold)
    nearer = np.sum(near[:, None] < far) + np.sum(near[:, None] == far) / 2
    assert area_under_curve(same, different) == pytest.approx(nearer / (len(near) * len(far)), abs=1e-15)
    for rate in (0, 0.01, 0.1, 0.5):
        allowed = [t for t in range(-1, len(same)) if np.mean(far <= t) <= rate]
        assert threshold_at(different, rate) == max(allowed)
    # The equal error rate lies on the curve: a fine walk along its straight pieces finds no smaller maximum of both.
    missed, wrong = 1 - curve.detection_rate, curve.false_positive_rate
    walk = np.linspace(0, len(missed) - 1, 20001)
    place = np.arange(len(missed))
    worse = np.maximum(np.interp(walk, place, missed), np.interp(walk, place, wrong))
    assert equal_error_rate(same, different) == pytest.approx(worse.min(), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_scale_and_mirror(seed):
    same, different = random_histograms(seed)
    for value in (area_under_curve, equal_error_rate):
        # Rates do not depend on how many images there were.
        assert value(3 * same, 5 * different) == value(same, different)
        # Similarity instead of distance, with the roles exchanged: the same decision problem.
        assert value(different[::-1], same[::-1]) == pytest.approx(value(same, different), abs=1e-15)
        # With the roles exchanged alone, everything right becomes wrong.
        assert value(different, same) == pytest.approx(1 - value(same, different), abs=1e-15)
    # Histograms are exact at any size.
    large = equal_error_rate(SAME * 10**15, DIFFERENT * 10**15)
    assert Fraction(large).limit_denominator(100) == Fraction(1, 6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: roc_curve(SAME, DIFFERENT[:3]), "5 and 3 distances"),
        (lambda: roc_curve(SAME, 0 * DIFFERENT), "must count something"),
        (lambda: equal_error_rate(SAME / 10, DIFFERENT), "must be integers"),
        (lambda: area_under_curve(-SAME, DIFFERENT), "must be integers"),
        (lambda: threshold_at(DIFFERENT, 1.5), "false_positive_rate=1.5: must lie in 0 .. 1"),
        (lambda: threshold_at(DIFFERENT, float("nan")), "false_positive_rate=nan"),
        (lambda: count_different(np.array([[0, 2]])), "codes: 2 in row 0 is not binary"),
        (lambda: count_different(np.array([0, 1])), r"codes: shape \(2,\) is not \[rows, bits\]"),
        (lambda: count_same(np.zeros((2, 3)), np.zeros((2, 4))), r"\[2, 3\] and codes of copies \[2, 4\]"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
