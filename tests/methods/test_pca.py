"""PCA sign, random rotation and ITQ: directions against a decomposition of all rows, rotations and their error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import InputSpec, make_encoder
from drlhash_jax.methods import METHODS, Ingredients, TrainingFacts, pca
from drlhash_jax.training import TrainingSettings, encode_codes, fit, place_rows, run_phase

NUM_BITS = 6


def method(name, **changes):
    settings = METHODS[name].settings().replace(**changes)
    return METHODS[name].make(Ingredients(NUM_BITS, make_encoder("mlp", NUM_BITS), TrainingSettings(), settings))


def identity(width):
    return InputSpec(np.zeros(width, np.float32), np.ones(width, np.float32), "features")


@pytest.fixture(scope="module")
def inputs():
    """1,500 rows, so that there are two blocks, with a mean and with directions of different variance."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    return (5.0 + rng.normal(size=(1500, 9)) * np.arange(9, 0, -1) @ turned).astype(np.float32)


def params_of(name, inputs, subset=None, **changes):
    rows = place_rows(inputs, np.zeros(len(inputs), np.int32), identity(9))
    return fit(method(name, **changes).phases, rows, lambda name: jax.random.key(0), subset)["params"]


def svd_directions(inputs):
    directions = np.linalg.svd(inputs - inputs.mean(axis=0))[2][:NUM_BITS].T
    return directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(NUM_BITS)])


@pytest.mark.parametrize("subset", [None, np.arange(0, 1500, 3)])
def test_directions_are_those_of_a_decomposition_of_all_rows(inputs, subset):
    used = inputs.astype(np.float64)[slice(None) if subset is None else subset]
    params = params_of("pca", inputs, subset)
    np.testing.assert_allclose(params["mean"], used.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(params["projection"], svd_directions(used), atol=1e-5)
    codes = encode_codes(method("pca").logits, params, inputs, identity(9))
    agree = codes == ((inputs - used.mean(axis=0)) @ svd_directions(used) >= 0)
    assert agree.mean() > 0.9995


@pytest.mark.parametrize("name", ["pca_rotation", "itq"])
def test_rotations_stay_in_the_space_of_the_directions(inputs, name):
    found = params_of(name, inputs)["projection"]
    np.testing.assert_allclose(found.T @ found, np.eye(NUM_BITS), atol=1e-5)
    directions = svd_directions(inputs.astype(np.float64))
    np.testing.assert_allclose(directions @ (directions.T @ found), found, atol=1e-4)


def test_itq_starts_from_the_random_rotation(inputs):
    np.testing.assert_array_equal(
        *(
            params_of(*each, inputs, **more)["projection"]
            for each, more in ((("pca_rotation",), {}), (("itq",), {"num_iterations": 0}))
        )
    )


def test_an_iteration_by_numpy():
    rng = np.random.default_rng(3)
    v, r = rng.normal(size=(40, 4)), np.linalg.qr(rng.normal(size=(4, 4)))[0]
    found, error = pca.update_rotation(jnp.asarray(r, jnp.float32), jnp.asarray(v, jnp.float32))
    b = np.where(v @ r >= 0, 1.0, -1.0)
    # The paper's form: with S Omega T^t the decomposition of B^t V, R = T S^t.
    s, _, t = np.linalg.svd(b.T @ v)
    np.testing.assert_allclose(found, t.T @ s.T, atol=1e-5)
    np.testing.assert_allclose(error, ((b - v @ r) ** 2).mean(), rtol=1e-5)
    # No other rotation is better for these codes.
    best = ((b - v @ np.asarray(found)) ** 2).sum()
    for seed in range(50):
        other = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
        assert best <= ((b - v @ other) ** 2).sum()


def test_the_error_never_rises(inputs):
    errors = []
    rows = place_rows(inputs, np.zeros(len(inputs), np.int32), identity(9))
    (phase,) = method("itq").phases
    run_phase(jax.random.key(0), phase, rows, on_epoch=lambda epoch, means: errors.append(means["loss"]))
    assert len(errors) == 50 and errors[-1] < 0.98 * errors[0]
    # A rounding error of float32.
    assert (np.diff(errors) <= 1e-6).all()


@pytest.mark.parametrize(
    ("num_bits", "shape", "num_rows", "message"),
    [
        (13, (2, 2, 3), 100, "13 bits need as many directions, and a row has 12 values: use fewer bits"),
        (12, (12,), 12, "12 bits need more rows than that, and there are 12: use fewer bits"),
        (16, (224, 224, 3), 100, "the covariance of 150528 values a row is too large"),
        (12, (12,), 13, None),
    ],
)
def test_what_does_not_fit(num_bits, shape, num_rows, message):
    facts = TrainingFacts(num_bits, "features", shape, num_rows, 0)
    for name in ("pca", "pca_rotation", "itq"):
        found = METHODS[name].misfit(METHODS[name].settings(), facts)
        assert found == message or found.startswith(message)


def test_too_few_rows_that_are_left_are_refused(inputs):
    with pytest.raises(ValueError, match="6 bits of 6 rows of 9 values"):
        params_of("pca", inputs, np.arange(6))


def test_rows_that_are_all_the_same_have_codes():
    same = np.ones((20, 9), np.float32)
    for name in ("pca", "itq"):
        codes = encode_codes(method(name).logits, params_of(name, same), same, identity(9))
        assert (codes == codes[0]).all()
