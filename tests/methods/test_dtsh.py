"""DTSH: all triplets of a batch by loops, the gradient that is computed on the way, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.methods import Ingredients, dtsh
from drlhash_jax.training import Batch, State, TrainingSettings, gradient

TRAINING = TrainingSettings(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)
# Rows 0, 1 and 2 share labels in a chain, row 3 with row 0; row 4 with none; row 5 is padding.
LABELS = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]])
LOGITS = np.random.default_rng(2).normal(size=(6, 4))


def step(labels, margin_per_bit, quantisation_weight):
    """One step of descent with rate 1 of an encoder whose kernel is the logits: loss, and change of the logits."""
    settings = dtsh.DTSHSettings(margin_per_bit, quantisation_weight)
    given = Ingredients(4, make_encoder("mlp", 4, hidden=()), TRAINING, settings)
    params = {"head": {"kernel": jnp.asarray(LOGITS, jnp.float32), "bias": jnp.zeros(4)}}
    state = State(jnp.int32(0), params, gradient._optimizer(TRAINING, 1).init(params))
    weights = jnp.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    batch = Batch(jnp.eye(6), jnp.asarray(labels, jnp.float32), jnp.arange(6), weights)
    after, metrics = dtsh.make(given).phases[0].step(state, batch, jax.random.key(0), num_steps=1)
    return float(metrics["loss"]), np.asarray(params["head"]["kernel"] - after.params["head"]["kernel"])


def by_loops(u, labels, alpha, weight):
    """Paper, Eq. 6 and 9, with means in place of sums."""
    share = lambda i, j: (labels[i] * labels[j]).any()
    num_rows, terms = len(u), []
    for q in range(num_rows):
        for p in range(num_rows):
            for n in range(num_rows):
                if p not in (q, n) and n != q and share(q, p) and not share(q, n):
                    difference = 0.5 * u[q] @ u[p] - 0.5 * u[q] @ u[n] - alpha
                    terms.append(-np.log(1 / (1 + np.exp(-difference))))
    return (np.mean(terms) if terms else 0.0) + weight * ((u - np.where(u >= 0, 1, -1)) ** 2).mean(), len(terms)


def test_loss_and_gradient_by_loops():
    value, slope = step(LABELS, 0.5, 0.3)
    cost = lambda u: by_loops(u, LABELS[:5], 2.0, 0.3)[0]
    # Row 0 has 2 x 2 triplets, row 1 3 x 1, row 2 1 x 3, row 3 2 x 2, and row 4 none.
    assert by_loops(LOGITS[:5], LABELS[:5], 2.0, 0.3)[1] == 14
    np.testing.assert_allclose(value, cost(LOGITS[:5]), rtol=1e-5)
    expected = np.zeros((5, 4))
    for place in np.ndindex(5, 4):
        shift = np.zeros((5, 4))
        shift[place] = 1e-6
        expected[place] = (cost(LOGITS[:5] + shift) - cost(LOGITS[:5] - shift)) / 2e-6
    np.testing.assert_allclose(slope[:5], expected, atol=1e-5)
    assert (slope[5] == 0).all()


@pytest.mark.parametrize("labels", [np.ones((6, 4)), np.eye(6)])
def test_a_batch_without_triplets_has_no_loss(labels):
    value, slope = step(labels, 0.5, 0.0)
    assert value == 0 and (slope == 0).all()


def test_the_gradient_is_that_of_the_plain_sum():
    rng = np.random.default_rng(3)
    theta = jnp.asarray(3 * rng.normal(size=(5, 8)), jnp.float32)
    kinds = rng.integers(3, size=(5, 8))
    positive, negative = (jnp.asarray(kinds == kind, jnp.float32) for kind in (1, 2))

    def plain(theta):
        short = theta[:, None, :] + 1.5 - theta[:, :, None]
        return jnp.sum(jax.nn.softplus(short) * positive[:, :, None] * negative[:, None, :])

    found = jax.value_and_grad(lambda x: 2 * dtsh.sum_over_triplets(x, positive, negative, 1.5))(theta)
    expected = jax.value_and_grad(lambda x: 2 * plain(x))(theta)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_memory_is_that_of_pairs():
    arrays = [jnp.zeros((512, 512))] * 3
    grad = jax.jit(jax.grad(lambda *x: dtsh.sum_over_triplets(*x, 1.0)))
    needed = grad.lower(*arrays).compile().memory_analysis().temp_size_in_bytes
    # 512^3 floats would be 512 MiB.
    assert needed < 16 * 4 * 512**2


def test_settings_have_ranges():
    for change in ({"margin_per_bit": -0.1}, {"quantisation_weight": -1.0}):
        with pytest.raises(UserError, match=f"dtsh.{next(iter(change))}"):
            dtsh.DTSHSettings(**change).checked("dtsh.")
