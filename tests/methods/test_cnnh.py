"""CNNH: coordinate descent against a residual that is kept whole, its objective, and the regression by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.methods import METHODS, TrainingFacts, cnnh
from drlhash_jax.training import Batch, place_rows, run_phase

# Rows of one class, of several, of none, and some that are equal.
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]], np.uint8)


def objective(h, labels):
    alike = np.where(labels.astype(int) @ labels.T > 0, 1.0, -1.0)
    return ((h @ h.T - h.shape[1] * alike) ** 2).sum()


def by_residual(h, labels, order):
    """The paper's Newton steps on a residual that is held, each taken only if the objective falls."""
    h, num_bits = h.astype(np.float64), h.shape[1]
    alike = np.where(labels.astype(int) @ labels.T > 0, 1.0, -1.0)
    for place in order:
        i, j = divmod(int(place), num_bits)
        residual = h @ h.T - num_bits * alike
        g = 4 * residual[i] @ h[:, j]
        c = 4 * ((h[:, j] ** 2).sum() + h[i, j] ** 2 + residual[i, i])
        step = -g / c if c > 1e-6 else -g * np.inf
        tried = h.copy()
        tried[i, j] = np.clip(h[i, j] + step, -1, 1)
        if objective(tried, labels) < objective(h, labels):
            h = tried
    return h


@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_is_newton_steps_on_the_residual(seed):
    h = jax.random.uniform(jax.random.key(seed), (7, 4), minval=-1.0, maxval=1.0)
    key = jax.random.key(10 + seed)
    found = jax.jit(cnnh.sweep)(key, h, cnnh._similarity(LABELS, np.arange(7)))
    expected = by_residual(np.asarray(h), LABELS, jax.random.permutation(key, 28))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_change_of_a_step_is_exact_and_never_a_rise():
    rng = np.random.default_rng(0)
    for _ in range(50):
        h = rng.uniform(-1, 1, (7, 3))
        i, j = rng.integers(7), rng.integers(3)
        alike = np.where(LABELS.astype(int) @ LABELS.T > 0, 1.0, -1.0)
        residual = h @ h.T - 3 * alike
        g, c = 4 * residual[i] @ h[:, j], 4 * ((h[:, j] ** 2).sum() + h[i, j] ** 2 + residual[i, i])
        d = float(cnnh.newton_step(jnp.float32(h[i, j]), jnp.float32(g), jnp.float32(c)))
        moved = h.copy()
        moved[i, j] += d
        assert abs(moved[i, j]) < 1 + 1e-6
        change = objective(moved, LABELS) - objective(h, LABELS)
        np.testing.assert_allclose(change, g * d + c * d**2 / 2 + 4 * h[i, j] * d**3 + d**4, atol=1e-4)
        assert change <= 1e-6
    # From 0 to 1, -.1 + .05 + 0 + 1 would be a rise.
    assert cnnh.newton_step(jnp.float32(0.0), jnp.float32(-0.1), jnp.float32(0.1)) == 0


@pytest.mark.parametrize("multi_label", [False, True])
def test_no_sweep_raises_the_objective(multi_label):
    labels = np.random.default_rng(0).integers(0, 4, 40)
    if multi_label:
        labels = (np.random.default_rng(1).random((40, 5)) < 0.3).astype(np.uint8)
    losses, subset = [], np.arange(1, 40, dtype=np.int32)
    rows = place_rows(None, labels, None)
    phase = cnnh.coordinate_phase(8, 8)
    found = run_phase(jax.random.key(0), phase, rows, subset, on_epoch=lambda _, means: losses.append(means["loss"]))
    assert len(losses) == 8 and (np.diff(losses) <= 1e-6).all() and losses[-1] < 0.6 * losses[0]
    assert found["codes"].shape == (40, 8) and found["codes"].dtype == np.uint8 and not found["codes"][0].any()
    if not multi_label:
        # Rows of a class agree, those of two classes do not.
        classes = [np.unique(found["codes"][subset][labels[subset] == each], axis=0) for each in range(4)]
        assert all(len(each) == 1 for each in classes) and len(np.unique(np.concatenate(classes), axis=0)) == 4


def test_the_encoder_regresses_bits():
    logits = np.array([[0.3, -0.2], [1.0, 2.0], [0.5, -4.0]], np.float32)
    codes = np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.uint8)
    batch = Batch(None, jnp.ones((3, 1)), jnp.array([3, 0, 1]), jnp.array([1.0, 0.0, 1.0]))
    loss = lambda u: cnnh.regression_loss(u, batch, {"codes": jnp.asarray(codes)}, None)
    t, b = np.tanh(logits[[0, 2]]), np.array([[1, -1], [1, 1]])
    np.testing.assert_allclose(loss(logits), ((t - b) ** 2).mean(), rtol=1e-6)
    slope = np.asarray(jax.grad(loss)(jnp.asarray(logits)))
    np.testing.assert_allclose(slope[[0, 2]], 2 * (t - b) * (1 - t**2) / 4, rtol=2e-4, atol=1e-8)
    assert not slope[1].any()


def test_what_does_not_fit_is_refused():
    facts = lambda n, num_classes: TrainingFacts(32, "features", (256,), n, num_classes)
    by_coordinate = cnnh.CNNHSettings(inference="coordinate")
    refuses = METHODS["cnnh"].misfit
    # The benchmark fits, and so do any number of rows of few classes.
    assert refuses(by_coordinate, facts(5_000, 10)) is refuses(by_coordinate, facts(5_000, 80)) is None
    assert refuses(by_coordinate, facts(10**6, 10)) is None
    assert refuses(cnnh.CNNHSettings(), facts(10**6, 80)) is None
    assert "use cnnh.inference=gradient" in refuses(by_coordinate, facts(10_001, 80))
