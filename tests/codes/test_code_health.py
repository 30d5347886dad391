"""Tests of the diagnostics of codes against pairs counted one by one, SciPy, and hand-made cases."""

import collections
import itertools
import math

import numpy as np
import pytest

from drlhash_jax.codes import bit_balance, bit_correlation, bit_entropy, collisions, health, occupancy


def make_codes(num_rows, num_bits, seed=0):
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 2, (9, num_bits))
    codes = pool[rng.integers(0, 9, num_rows)]
    codes[:, 0] ^= rng.random(num_rows) < 0.3
    return codes


def test_golden_balance_and_entropy():
    codes = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(bit_balance(codes), [1, 0, 1 / 4])
    # h(1/4) = 2/4 + 3/4 log2(4/3).
    np.testing.assert_allclose(bit_entropy(codes), [0, 0, 0.5 + 0.75 * math.log2(4 / 3)], rtol=1e-12)
    assert not np.signbit(bit_entropy(codes)).any()
    np.testing.assert_array_equal(bit_entropy(codes[:2]), [0, 0, 1])


def test_correlation_equals_pearson():
    codes = make_codes(200, 7)
    codes[:, 3] = 1 - codes[:, 2]
    codes[:, 5] = 1
    got = bit_correlation(codes)
    live = np.array([0, 1, 2, 3, 4, 6])
    np.testing.assert_allclose(got[np.ix_(live, live)], np.corrcoef(codes[:, live], rowvar=False), atol=1e-12)
    assert np.isnan(got[5]).all() and np.isnan(got[:, 5]).all()
    assert got[2, 3] == -1
    np.testing.assert_array_equal(np.diagonal(got)[live], 1)


def test_correlation_is_exact_over_blocks():
    # More rows than one block; equal and complementary bits have a correlation of exactly 1 and -1.
    bit = np.random.default_rng(0).integers(0, 2, 150_000)
    np.testing.assert_array_equal(bit_correlation(np.stack([bit, bit, 1 - bit], axis=1))[0], [1, 1, -1])


@pytest.mark.parametrize("num_bits", [1, 32, 40])
def test_occupancy_equals_counter(num_bits):
    codes = make_codes(120, num_bits)
    counter = collections.Counter(tuple(row) for row in codes.tolist())
    got = occupancy(codes)
    assert (got.num_rows, got.num_codes, got.largest) == (120, len(counter), max(counter.values()))
    assert dict(zip(got.sizes.tolist(), got.buckets.tolist())) == collections.Counter(counter.values())
    assert got.alone == sum(size == 1 for size in counter.values())
    assert got.mean == pytest.approx(120 / len(counter))
    assert got.entropy == pytest.approx(-sum(n / 120 * math.log2(n / 120) for n in counter.values()))


def pairs_one_by_one(codes, labels):
    pairs = sharing = 0
    for i, j in itertools.combinations(range(len(codes)), 2):
        if (codes[i] == codes[j]).all():
            pairs += 1
            if labels.ndim == 1:
                sharing += labels[i] == labels[j] and labels[i] >= 0
            else:
                sharing += any(x and y for x, y in zip(labels[i], labels[j]))
    return pairs, sharing, pairs - sharing


@pytest.mark.parametrize("kind", ["integer", "multi_hot"])
@pytest.mark.parametrize("block_rows", [3, 1024])
def test_collisions_equal_pairs_one_by_one(kind, block_rows, monkeypatch):
    monkeypatch.setattr(health, "_BLOCK_ROWS", block_rows)
    rng = np.random.default_rng(1)
    codes = make_codes(110, 35)
    if kind == "integer":
        labels = rng.integers(-1, 4, 110)
    else:
        labels = (rng.random((14, 40)) < 0.08).astype(int)
        labels[0] = 0
        labels = labels[rng.integers(0, 14, 110)]
        assert not labels.any(axis=1).all()
    got = collisions(codes, labels)
    assert got == pairs_one_by_one(codes, labels)
    assert 0 < got.sharing < got.pairs
    assert got.sharing_rate == got.sharing / got.pairs


def test_golden_collisions():
    # Three rows of code 0 with labels a, a, b, one row of code 1: three pairs, of which a-a share.
    codes = np.array([[0], [0], [0], [1]])
    assert collisions(codes, np.array([0, 0, 1, 1])) == (3, 1, 2)
    assert collisions(codes, np.array([-1, -1, -1, -1])) == (3, 0, 3)
    # Multi-hot ab, b, c, c: ab-b share.
    assert collisions(codes, np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])) == (3, 1, 2)
    assert math.isnan(collisions(np.array([[0], [1]]), np.array([0, 0])).sharing_rate)


def test_large_buckets_are_counted_without_overflow():
    # 200,000 rows of one code in two classes: n (n - 1) / 2 is beyond 32 bits.
    labels = np.repeat([0, 1], 100_000)
    expected = 200_000 * 199_999 // 2, 100_000 * 99_999, 100_000**2
    codes = np.zeros((200_000, 8), np.uint8)
    assert collisions(codes, labels) == expected
    assert collisions(codes, np.eye(2, dtype=np.uint8)[labels]) == expected


@pytest.mark.parametrize("kind", ["integer", "multi_hot"])
def test_invariances(kind):
    rng = np.random.default_rng(2)
    codes = make_codes(90, 12)
    labels = rng.integers(0, 3, 90) if kind == "integer" else (rng.random((90, 6)) < 0.3).astype(int)
    rows, bits, flip = rng.permutation(90), rng.permutation(12), rng.integers(0, 2, 12)
    for variant, its_labels in ((codes[rows], labels[rows]), (codes[:, bits], labels), (codes ^ flip, labels)):
        assert collisions(variant, its_labels) == collisions(codes, labels)
        for got, expected in zip(occupancy(variant), occupancy(codes)):
            np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_allclose(bit_entropy(codes ^ flip), bit_entropy(codes), rtol=1e-12)
    np.testing.assert_allclose(abs(bit_correlation(codes ^ flip)), abs(bit_correlation(codes)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("function", [bit_balance, bit_entropy, bit_correlation, occupancy])
def test_refuses_what_is_no_code(function):
    for codes, message in (
        (np.array([[1, -2]]), "codes: -2 in row 0 is not binary"),
        (np.array([[1, -1, 0]]), "codes: -1, 0 and 1 occur"),
        (np.array([[1.0, math.nan]]), "codes: NaN in row 0"),
        (np.zeros((0, 4)), r"codes: shape \(0, 4\) is empty"),
        (np.zeros(4), "codes: shape"),
    ):
        with pytest.raises(ValueError, match=message):
            function(codes)


def test_collisions_refuse_labels_that_do_not_fit():
    codes = np.zeros((3, 2), int)
    with pytest.raises(ValueError, match="3 rows of codes but 2 rows of labels"):
        collisions(codes, np.array([0, 1]))
    with pytest.raises(ValueError, match="labels: 3 in row 0; multi-hot labels are 0 and 1"):
        collisions(codes, np.full((3, 2), 3))


@pytest.mark.parametrize("function", [bit_balance, bit_entropy, bit_correlation, occupancy])
def test_signs_are_the_same_codes(function):
    codes = make_codes(60, 9)
    for got, expected in zip(function(2 * codes - 1), function(codes), strict=True):
        np.testing.assert_array_equal(got, expected)
