"""GreedyHash: the loss by loops, gradients that pass the sign, and a class layer that codes do without."""

import jax
import jax.numpy as jnp
import numpy as np
from method_toys import fitted, make, toy
from one_step import identity_layer, loss_and_gradient, make_linear, numeric_gradient

from drlhash_jax.methods import greedyhash

WEIGHT = 0.3
U = np.array([[0.3, -0.2, 1.5], [-0.7, 0.1, 0.4], [2.0, 2.0, 2.0]])
LABELS = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
# The third row is padding.
WEIGHTS = np.array([1.0, 1.0, 0.0])


def class_loss(codes, w):
    """Cross-entropy of a linear layer on codes, row by row."""
    total = 0.0
    for row in range(2):
        scores = codes[row] @ w
        log_p = scores - np.log(np.exp(scores).sum())
        total -= (LABELS[row] / LABELS[row].sum()) @ log_p / 2
    return total


def distance(u):
    return WEIGHT * np.mean(np.abs(np.abs(u[:2]) - 1) ** 3)


def test_loss_and_gradients_by_loops():
    w = np.random.default_rng(0).normal(size=(3, 2))
    method = make_linear("greedyhash", 3, quantisation_weight=WEIGHT)
    params = identity_layer(3) | {"head_classes": {"kernel": jnp.asarray(w, jnp.float32)}}
    loss, slopes, _ = loss_and_gradient(method, params, U, LABELS, WEIGHTS)
    codes = np.where(U >= 0, 1.0, -1.0)
    np.testing.assert_allclose(loss, class_loss(codes, w) + distance(U), rtol=1e-6)
    expected = numeric_gradient(lambda w: class_loss(codes, w), w)
    np.testing.assert_allclose(slopes["head_classes"]["kernel"], expected, atol=1e-6)
    # The sign is passed as if it were not there: the slope in u is that in the code.
    of_rows = numeric_gradient(lambda codes: class_loss(codes, w), codes) + numeric_gradient(distance, U)
    np.testing.assert_allclose(slopes["head"]["kernel"], U.T @ of_rows, atol=1e-5)
    np.testing.assert_allclose(slopes["head"]["bias"], of_rows.sum(axis=0), atol=1e-5)


def test_the_sign_has_two_values_and_lets_gradients_through():
    u = jnp.array([-2.0, -0.0, 0.0, 3.0])
    np.testing.assert_array_equal(greedyhash.code_of(u), [-1, 1, 1, 1])
    slopes = jax.grad(lambda u: jnp.sum(greedyhash.code_of(u) * jnp.arange(4.0)))(u)
    np.testing.assert_array_equal(slopes, np.arange(4.0))


def test_layers_keep_their_names_and_codes_do_without_the_classes():
    params = fitted("greedyhash")["params"]
    assert set(params) == {"dense0", "head", "head_classes"} and params["head_classes"]["kernel"].shape == (16, 4)
    inputs, _, _ = toy("greedyhash")
    without = {name: value for name, value in params.items() if name != "head_classes"}
    logits = make("greedyhash").logits
    np.testing.assert_array_equal(logits(params, inputs), logits(without, inputs))
