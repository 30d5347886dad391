"""Correlation of bits against NumPy's, and t-SNE of codes whose groups are known."""

import csv

import numpy as np
import pytest

from drlhash_jax.codes import bit_correlation
from drlhash_jax.figures import plot_bit_correlation, plot_tsne
from drlhash_jax.figures.code_maps import embed_codes, mean_off_diagonal


def test_golden_correlation():
    codes = np.array([[0, 1, 0, 1], [0, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1]])
    # n = 4; ones 2, 2, 1, 4. Bits 0 and 1 never together: (0 - 4) / sqrt(4 * 4) = -1. Bits 0 and 2: (0 - 2) /
    # sqrt(4 * 3) = -1 / sqrt 3; bits 1 and 2: (4 - 2) / sqrt 12. Bit 3 never changes.
    r, nan = 1 / np.sqrt(3), np.nan
    expected = [[1, -1, -r, nan], [-1, 1, r, nan], [-r, r, 1, nan], [nan] * 4]
    np.testing.assert_allclose(bit_correlation(codes), expected, atol=1e-15)
    # (1 + r + r) / 3 of the three pairs of bits that change.
    assert mean_off_diagonal(bit_correlation(codes)) == pytest.approx((1 + 2 * r) / 3, abs=1e-15)
    assert np.isnan(mean_off_diagonal(bit_correlation(codes[:, 2:])))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_correlation_against_numpy(dtype):
    codes = np.random.default_rng(0).integers(0, 2, (300, 9)).astype(dtype)
    expected = np.corrcoef(codes.astype(float), rowvar=False)
    np.testing.assert_allclose(bit_correlation(codes), expected, atol=1e-13)
    # A negated bit changes signs only.
    negated = codes.astype(int)
    negated[:, 0] = 1 - negated[:, 0]
    np.testing.assert_allclose(np.abs(bit_correlation(negated)), np.abs(expected), atol=1e-13)


def test_correlation_map(tmp_path):
    codes = np.random.default_rng(0).integers(0, 2, (20, 3))
    codes[:, 2] = 1
    paths = plot_bit_correlation(tmp_path / "map", {"all": codes, "first two": codes[:, :2]})
    with open(paths.csv, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    # One row a pair, signed; nothing where a bit never changes.
    value = f"{bit_correlation(codes)[1, 0]:.9g}"
    assert rows == [
        ["panel", "bit", "other bit", "correlation"],
        ["all", "1", "0", value],
        ["all", "2", "0", ""],
        ["all", "2", "1", ""],
        ["first two", "1", "0", value],
    ]
    assert all(path.stat().st_size > 0 for path in paths)


def grouped_codes():
    """Three groups of 8 codes, at most 2 of 24 bits from their centre."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 8)
    codes = np.kron(np.eye(3, dtype=int), np.ones((1, 8), int))[labels]
    for row in codes:
        row[rng.choice(24, 2, replace=False)] ^= 1
    return codes, labels


def test_tsne_keeps_groups_together(tmp_path):
    codes, labels = grouped_codes()
    paths = plot_tsne(tmp_path / "tsne", codes, labels, ["a", "b", "c"], seed=1)
    with open(paths.csv, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["class", "x", "y"] and [row[0] for row in rows] == [*"aaaaaaaabbbbbbbbcccccccc"]
    points = np.array([row[1:] for row in rows], float)
    distance = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(24)
    assert np.all(labels[distance.argmin(axis=1)] == labels)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda stem: plot_bit_correlation(stem, {}), "at least one panel"),
        (lambda stem: plot_bit_correlation(stem, {"A": np.full((2, 2), -1)}), "codes must be 0 and 1"),
        (lambda stem: embed_codes(np.zeros((3, 2))), "3 codes: t-SNE needs at least 4"),
        (lambda stem: plot_tsne(stem, np.zeros((5, 2)), np.full(5, 2), ["a", "b"]), r"\[5\] places in 2 classes"),
        (lambda stem: plot_tsne(stem, np.zeros((5, 2)), np.zeros((5, 2), int), ["a"]), r"not \[5, 2\]"),
    ],
)
def test_bad_input(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "figure")
