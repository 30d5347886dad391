"""Kernel ridge regression: the closed form of rows left out against refits, its temperature, its logits by a loop."""

import numpy as np
import pytest
import scipy.special

from drlhash_jax.posteriors import (
    fit_kernel_ridge,
    kernel_logits,
    kernel_ridge,
    log_loss,
    posterior_of,
)
from drlhash_jax.posteriors.calibration import find_temperature
from drlhash_jax.posteriors.kernel_ridge import leave_one_out


def toy(multi_label=False, num_rows=120, seed=1):
    """Blobs of three classes, of which the labels of the second kind are two at a time."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_rows)
    inputs = np.random.default_rng(0).normal(size=(3, 5))[labels] + 0.9 * rng.normal(size=(num_rows, 5))
    if multi_label:
        labels = np.eye(3, dtype=np.uint8)[labels] | np.eye(3, dtype=np.uint8)[labels // 2]
    return inputs.astype(np.float32), labels


def test_leave_one_out_is_a_refit_without_the_row():
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(25, 3)), rng.normal(size=(25, 2))
    kernel, penalty = np.exp(-((x[:, None] - x[None]) ** 2).sum(axis=2)), 0.3
    weights, scores = leave_one_out(kernel, targets, penalty)
    np.testing.assert_allclose((kernel + penalty * np.eye(25)) @ weights, targets, atol=1e-12)
    for row in range(25):
        others = np.arange(25) != row
        refit = np.linalg.solve(kernel[np.ix_(others, others)] + penalty * np.eye(24), targets[others])
        np.testing.assert_allclose(scores[row], kernel[row, others] @ refit, atol=1e-10)


@pytest.mark.parametrize("multi_label", [False, True])
def test_temperature_has_the_smallest_loss(multi_label):
    _, labels = toy(multi_label)
    prior, scores = np.log([0.2, 0.3, 0.5]), np.random.default_rng(0).normal(size=(120, 3))
    scores += 2.0 * (labels if multi_label else np.eye(3)[labels])
    temperature, loss = find_temperature(scores, prior, labels)
    others = [
        log_loss(posterior_of(scores / each + prior, not multi_label), labels)
        for each in np.exp(np.linspace(np.log(0.01), np.log(10), 400))
    ]
    assert 0.02 < temperature < 5 and loss <= min(others) + 1e-6


def test_posteriors_by_hand():
    logits = np.array([[0.5, -0.2, 0.1]])
    weights = np.exp(logits[0])
    np.testing.assert_allclose(posterior_of(logits, True)[0], weights / weights.sum(), rtol=1e-6)
    np.testing.assert_allclose(posterior_of(logits, False)[0], weights / (1 + weights), rtol=1e-6)


def test_log_loss_by_a_loop():
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32)
    assert log_loss(p, np.array([0, 2])) == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2)
    several = np.array([[1, 1, 0], [0, 0, 0]], np.uint8)
    by_label = [0.7, 0.2, 0.9, 0.7, 0.7, 0.6]
    assert log_loss(p, several) == pytest.approx(-np.log(by_label).mean())


@pytest.mark.parametrize("multi_label", [False, True])
def test_logits_by_a_loop(multi_label):
    inputs, labels = toy(multi_label)
    ridge = fit_kernel_ridge(inputs, labels, 3)
    params = {name: np.asarray(value, np.float64) for name, value in ridge.params.items()}
    found = np.asarray(kernel_logits(ridge.params, inputs[:4]))
    frequency = ((labels if multi_label else np.eye(3)[labels]).sum(axis=0) + 1) / 122
    expected_prior = np.log(frequency / (1 - frequency)) if multi_label else np.log(frequency)
    np.testing.assert_allclose(params["prior"], expected_prior, rtol=1e-5)
    for row in range(4):
        unit = inputs[row] / params["scale"]
        unit /= np.linalg.norm(unit)
        kernel = [np.exp(-params["rate"] * ((unit - other) ** 2).sum()) for other in params["train"]]
        np.testing.assert_allclose(found[row], kernel @ params["weights"] + params["prior"], atol=2e-4)


def test_rows_left_out_are_scored_by_fits_that_did_not_see_them():
    inputs, labels = toy()
    ridge = fit_kernel_ridge(inputs, labels, 3)
    seen = log_loss(posterior_of(np.asarray(kernel_logits(ridge.params, inputs)), True), labels)
    held_out = log_loss(posterior_of(ridge.held_out, True), labels)
    others, other_labels = toy(num_rows=2_000, seed=5)
    elsewhere = log_loss(posterior_of(np.asarray(kernel_logits(ridge.params, others)), True), other_labels)
    assert seen < held_out < np.log(3) and elsewhere == pytest.approx(held_out, abs=0.15)


def test_bandwidth_and_penalty_have_the_smallest_loss_of_those_tried(monkeypatch):
    inputs, labels = toy()
    chosen = log_loss(posterior_of(fit_kernel_ridge(inputs, labels, 3).held_out, True), labels)
    tried = []
    for bandwidth in kernel_ridge._BANDWIDTHS:
        monkeypatch.setattr(kernel_ridge, "_BANDWIDTHS", (bandwidth,))
        monkeypatch.setattr(kernel_ridge, "_PENALTIES", (0.2, 0.2))
        tried.append(log_loss(posterior_of(fit_kernel_ridge(inputs, labels, 3).held_out, True), labels))
    assert chosen <= min(tried) + 1e-6 and max(tried) > min(tried)


def test_a_class_without_rows_has_its_place():
    inputs, labels = toy()
    ridge = fit_kernel_ridge(inputs, labels, 5)
    assert ridge.held_out.shape == (120, 5)
    posterior = posterior_of(np.asarray(kernel_logits(ridge.params, inputs)), True)
    assert posterior[:, 3:].max() < 0.05 and scipy.special.logsumexp(np.log(posterior[0])) == pytest.approx(0, abs=1e-5)
