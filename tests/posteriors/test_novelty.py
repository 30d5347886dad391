"""Novelty: its score by hand, rows left out, and classes that were never seen."""

import numpy as np
import pytest

from drlhash_jax.posteriors import fit_novelty, novelty_log_odds
from drlhash_jax.posteriors import novelty as room


def blobs(num_classes, num_rows=240, width=10, seed=0, distance=3.0):
    rng = np.random.default_rng(seed)
    centres = distance * np.eye(width)[:num_classes]
    labels = np.arange(num_rows) % num_classes
    return (centres[labels] + rng.normal(size=(num_rows, width))).astype(np.float32), labels


def squares_by_scaled(train, labels, x):
    """Distance to the nearest class of rows, by the inverse of the shrunk covariance; features are scaled already."""
    unit = lambda rows: rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    z, x = unit(train), unit(x)
    means = np.stack([z[labels == each].mean(axis=0) for each in np.unique(labels)])
    centred = z - means[np.unique(labels, return_inverse=True)[1]]
    within = centred.T @ centred / len(z)
    inverse = np.linalg.inv(within + 0.1 * np.trace(within) / len(within) * np.eye(len(within)))
    parts = x[:, None] - means[None]
    return np.einsum("ncd,de,nce->nc", parts, inverse, parts).min(axis=1)


def test_log_odds_are_a_line_of_the_log_distance():
    train, labels = blobs(4)
    found = fit_novelty(train, labels, np.arange(len(train)) % 3)
    x, _ = blobs(6, seed=1)
    scale = train.std(axis=0)
    u = np.log(squares_by_scaled(train / scale, labels, x / scale))
    expected = found.params["slope"] * u + found.params["offset"]
    np.testing.assert_allclose(novelty_log_odds(found.params, x), expected, rtol=1e-3, atol=1e-3)
    assert found.params["slope"] > 0


def test_rows_are_scored_by_other_rows_and_then_by_other_classes():
    train, labels = blobs(4)
    folds = np.arange(len(train)) // 80
    found = fit_novelty(train, labels, folds)
    line = lambda squares: found.params["slope"] * np.log(squares) + found.params["offset"]
    scale = train.std(axis=0)
    # Rows are scaled alike everywhere, by all of them: what is left out is scaled here beforehand.
    scaled = train / scale
    by_hand = lambda out: squares_by_scaled(scaled[~out], labels[~out], scaled[out])
    for fold in range(3):
        np.testing.assert_allclose(found.known[folds == fold], line(by_hand(folds == fold)), rtol=1e-3, atol=1e-3)
    for label in range(4):
        np.testing.assert_allclose(
            found.left_out[labels == label], line(by_hand(labels == label)), rtol=1e-3, atol=1e-3
        )


def test_rows_of_a_class_never_seen_are_told_from_others():
    """Blobs of ten classes, eight of them trained on: most rows of the other two have positive log-odds."""
    x, labels = blobs(10, 1_000, distance=5.0)
    rng = np.random.default_rng(0)
    train = (labels < 8) & (rng.random(len(x)) < 0.5)
    found = fit_novelty(x[train], labels[train], rng.integers(0, 5, train.sum()))
    odds = np.asarray(novelty_log_odds(found.params, x))
    assert (odds[labels >= 8] > 0).mean() > 0.75
    assert (odds[(labels < 8) & ~train] < 0).mean() > 0.75


def test_classes_are_left_out_in_groups(monkeypatch):
    """With more classes than groups a group holds several, and all of them are away."""
    monkeypatch.setattr(room, "_MOST_GROUPS", 2)
    train, labels = blobs(4)
    found = fit_novelty(train, labels, np.arange(len(train)) % 3)
    out = labels % 2 == 0
    scaled = train / train.std(axis=0)
    line = lambda squares: found.params["slope"] * np.log(squares) + found.params["offset"]
    expected = line(squares_by_scaled(scaled[~out], labels[~out], scaled[out]))
    np.testing.assert_allclose(found.left_out[out], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spoil", ["constant", "apart"])
def test_features_that_do_not_vary_and_classes_without_spread(spoil):
    """A feature that is the same in all rows, or classes that are one point each: numbers stay finite."""
    train, labels = blobs(2, 40)
    train = np.where(np.arange(10) == 0, 1.0, train) if spoil == "constant" else np.eye(10)[labels]
    found = fit_novelty(train.astype(np.float32), labels, np.arange(40) % 4)
    odds = np.asarray(novelty_log_odds(found.params, train.astype(np.float32)))
    assert all(np.isfinite(each).all() for each in (odds, found.known, found.left_out))
