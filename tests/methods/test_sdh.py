"""SDH: an objective that no update raises, by an oracle of it; the discrete step against every column there is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import InputSpec, make_encoder
from drlhash_jax.methods import METHODS, Ingredients, sdh
from drlhash_jax.training import Start, TrainingSettings, fit, place_rows

NUM_ROWS, NUM_CLASSES, NUM_BITS = 60, 3, 5
update_all = jax.jit(sdh.update_all, static_argnums=3)
as32 = lambda x: jnp.asarray(x, jnp.float32)


def identity(width):
    return InputSpec(np.zeros(width, np.float32), np.ones(width, np.float32), "features")


def rows_and_labels(multi_label=True):
    rng = np.random.default_rng(0)
    labels = np.eye(NUM_CLASSES)[np.arange(NUM_ROWS) % NUM_CLASSES]
    if multi_label:
        labels = np.maximum(labels, rng.random(labels.shape) < 0.3)
    inputs = labels @ rng.normal(size=(NUM_CLASSES, 7)) + 0.5 * rng.normal(size=(NUM_ROWS, 7)) + 2.0
    return inputs.astype(np.float32), labels.astype(np.uint8)


def begin_with(inputs, labels):
    subset = np.arange(len(inputs), dtype=np.int32)
    return Start(inputs, labels, subset, NUM_CLASSES, identity(inputs.shape[1]), None, {}, 1)


def phi_of(kernel, inputs):
    """Kernel features by loops, float64."""
    mean, anchors = (np.asarray(kernel[name], np.float64) for name in ("mean", "anchors"))
    phi = np.ones((len(inputs), len(anchors) + 1))
    for row, x in enumerate(inputs - mean):
        x = x / np.sqrt((x**2).sum())
        for place, anchor in enumerate(anchors):
            phi[row, place] = np.exp(-((x - anchor) ** 2).sum() / (2 * float(kernel["sigma"]) ** 2))
    return phi


def objective_of(b, w, p, y, phi, settings):
    """What is minimised, as the paper prints it, with the ridge of P."""
    fits = y - b @ w if settings.solver == "dcc" else b - y @ w
    unfitted = ((b - phi @ p) ** 2).sum() + settings.ridge * (p**2).sum()
    return (fits**2).sum() + settings.label_weight * (w**2).sum() + settings.regression_weight * unfitted


# Weights that make every term count.
SETTINGS = sdh.SDHSettings(regression_weight=0.3, label_weight=0.5, ridge=0.05, num_anchors=20)


def start(settings):
    inputs, labels = rows_and_labels()
    regression = sdh.start_regression(jax.random.key(1), begin_with(inputs, labels), settings)
    codes = np.where(np.random.default_rng(2).random((NUM_ROWS, NUM_BITS)) < 0.5, 1.0, -1.0)
    return codes, labels.astype(np.float64), phi_of(regression.kernel, inputs), regression


def test_whitened_features_are_the_regression():
    codes, _, phi, regression = start(SETTINGS)
    a = phi.T @ phi + SETTINGS.ridge * np.eye(phi.shape[1])
    p = np.linalg.solve(a, phi.T @ codes)
    whitened = np.asarray(regression.basis, np.float64).T @ codes
    np.testing.assert_allclose(regression.whitening @ whitened, p, atol=1e-4)
    np.testing.assert_allclose(regression.basis @ whitened, phi @ p, atol=1e-4)


def test_no_update_raises_the_objective():
    """W, P and every single column in turn, three iterations, against the oracle."""
    b, y, phi, regression = start(SETTINGS)
    w, p = np.zeros((NUM_BITS, NUM_CLASSES)), np.zeros((phi.shape[1], NUM_BITS))
    costs, flips = [objective_of(b, w, p, y, phi, SETTINGS)], 0
    for _ in range(3):
        w = np.asarray(sdh.solve_ridge(as32(b.T @ b), SETTINGS.label_weight, as32(b.T @ y)), np.float64)
        np.testing.assert_allclose(w, np.linalg.solve(b.T @ b + 0.5 * np.eye(NUM_BITS), b.T @ y), atol=1e-5)
        costs.append(objective_of(b, w, p, y, phi, SETTINGS))
        p = np.asarray(regression.whitening, np.float64) @ (np.asarray(regression.basis, np.float64).T @ b)
        costs.append(objective_of(b, w, p, y, phi, SETTINGS))
        wanted = y @ w.T + SETTINGS.regression_weight * phi @ p
        for bit in range(NUM_BITS):
            after = np.asarray(sdh.update_bit(bit, as32(b), as32(w @ w.T), as32(wanted)), np.float64)
            assert (np.delete(after, bit, axis=1) == np.delete(b, bit, axis=1)).all()
            flips, b = flips + (after != b).sum(), after
            costs.append(objective_of(b, w, p, y, phi, SETTINGS))
    assert flips > NUM_ROWS / 2 and costs[-1] < 0.5 * costs[1]
    assert (np.diff(costs) <= 1e-5 * costs[1]).all()


def test_a_column_is_the_best_of_all_that_there_are():
    rng = np.random.default_rng(0)
    b, w = np.where(rng.random((6, 3)) < 0.5, 1.0, -1.0), rng.normal(size=(3, 2))
    y, fitted = rng.random((6, 2)), rng.normal(size=(6, 3))
    wanted = y @ w.T + 0.3 * fitted
    cost = lambda b: ((y - b @ w) ** 2).sum() + 0.3 * ((b - fitted) ** 2).sum()
    for bit in range(3):
        columns = [np.array(each) for each in itertools.product([-1.0, 1.0], repeat=6)]
        others = [np.concatenate([b[:, :bit], each[:, None], b[:, bit + 1 :]], axis=1) for each in columns]
        found = sdh.update_bit(bit, as32(b), as32(w @ w.T), as32(wanted))
        np.testing.assert_array_equal(found, min(others, key=cost))


def test_sweeps_end_where_no_single_bit_can_do_better():
    b, y, *_ = start(SETTINGS)
    w = np.random.default_rng(5).normal(size=(NUM_BITS, NUM_CLASSES))
    wanted = y @ w.T
    found = sdh.update_codes(as32(b), as32(w), as32(wanted), 100)
    for bit in range(NUM_BITS):
        np.testing.assert_array_equal(sdh.update_bit(bit, found, as32(w @ w.T), as32(wanted)), found)
    one = np.asarray(sdh.update_codes(as32(b), as32(w), as32(wanted), 1))
    for bit in range(NUM_BITS):
        b = np.asarray(sdh.update_bit(bit, as32(b), as32(w @ w.T), as32(wanted)))
    np.testing.assert_array_equal(one, b)


@pytest.mark.parametrize("solver", sdh.SOLVERS)
def test_an_iteration_says_the_objective_and_lowers_it(solver):
    settings = SETTINGS.replace(solver=solver)
    b, y, phi, regression = start(settings)
    identity_b, costs = np.eye(NUM_BITS), []
    for _ in range(4):
        after, cost = update_all(as32(b), as32(y), regression, settings)
        p = np.linalg.solve(phi.T @ phi + settings.ridge * np.eye(phi.shape[1]), phi.T @ b)
        if solver == "dcc":
            w = np.linalg.solve(b.T @ b + settings.label_weight * identity_b, b.T @ y)
        else:
            w = np.linalg.solve(y.T @ y + settings.label_weight * np.eye(NUM_CLASSES), y.T @ b)
            expected = np.where(y @ w + settings.regression_weight * phi @ p >= 0, 1.0, -1.0)
            np.testing.assert_array_equal(after, expected)
        b = np.asarray(after, np.float64)
        np.testing.assert_allclose(cost, objective_of(b, w, p, y, phi, settings) / NUM_ROWS, rtol=1e-4)
        costs.append(float(cost))
    assert costs[-1] < costs[0] and (np.diff(costs) <= 1e-6 * costs[0]).all()


def make(**changes):
    settings = sdh.SDHSettings(**changes)
    return sdh.make(Ingredients(8, make_encoder("mlp", 8), TrainingSettings(), settings))


def test_logits_are_the_regression_on_the_last_codes():
    inputs, labels = rows_and_labels()
    method = make(num_anchors=20)
    rows = place_rows(inputs, labels, identity(7))
    (phase,) = method.phases
    kept = phase._replace(finish=lambda state: phase.finish(state) | {"codes": state.params})
    handed = fit((kept,), rows, lambda name: jax.random.key(0))
    params, codes = handed["params"], handed["codes"]
    phi = phi_of(params, inputs)
    p = np.linalg.solve(phi.T @ phi + 1e-2 * np.eye(21), phi.T @ codes)
    np.testing.assert_allclose(method.logits(params, jnp.asarray(inputs)), phi @ p, atol=2e-3)


def test_default_width_is_the_distance_to_the_nearest_other_anchor():
    inputs, labels = rows_and_labels()
    begin = begin_with(inputs, labels)
    centred = inputs - inputs.mean(axis=0)
    rows = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    # With all rows as anchors, each row's nearest would be the row itself.
    for num_anchors in (NUM_ROWS, 10):
        kernel = sdh.start_regression(jax.random.key(0), begin, sdh.SDHSettings(num_anchors=num_anchors)).kernel
        nearest = []
        for row in rows:
            each = np.sqrt(((row - np.asarray(kernel["anchors"])) ** 2).sum(axis=1))
            nearest.append(each[each > 1e-3].min())
        np.testing.assert_allclose(kernel["sigma"], np.mean(nearest), rtol=1e-4)
    fixed = sdh.start_regression(jax.random.key(0), begin, sdh.SDHSettings(sigma=0.4)).kernel
    np.testing.assert_allclose(fixed["sigma"], 0.4)


def test_rows_that_are_all_the_same_have_codes():
    same, labels = np.ones((12, 7), np.float32), np.arange(12) % 3
    params = fit(make().phases, place_rows(same, labels, identity(7)), lambda name: jax.random.key(0))["params"]
    assert np.isfinite(np.asarray(make().logits(params, jnp.asarray(same)))).all()


def test_it_is_the_kernel_of_inputs_and_not_the_encoder():
    spec = METHODS["sdh"]
    assert not spec.trains_encoder and spec.learns_labels and not spec.accepts_unlabelled
