"""DSH: the contrastive loss by loops, its gradient by hand, and its margin in bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.methods import Ingredients, dsh
from drlhash_jax.training import Batch, State, TrainingSettings, gradient

TRAINING = TrainingSettings(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)
LABELS = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [1, 1]])


def step(logits, labels=LABELS, **changes):
    """One step of descent with rate 1 of an encoder whose kernel is the logits: loss, and change of the logits."""
    num_rows, num_bits = logits.shape
    settings = dsh.DSHSettings(**changes)
    given = Ingredients(num_bits, make_encoder("mlp", num_bits, hidden=()), TRAINING, settings)
    params = {"head": {"kernel": jnp.asarray(logits, jnp.float32), "bias": jnp.zeros(num_bits)}}
    state = State(jnp.int32(0), params, gradient._optimizer(TRAINING, 1).init(params))
    # The last row is padding.
    weights = jnp.arange(num_rows) < num_rows - 1
    hot = jnp.asarray(labels, jnp.float32)
    batch = Batch(jnp.eye(num_rows), hot, jnp.arange(num_rows), weights.astype(jnp.float32))
    after, metrics = dsh.make(given).phases[0].step(state, batch, jax.random.key(0), num_steps=1)
    return float(metrics["loss"]), np.asarray(params["head"]["kernel"] - after.params["head"]["kernel"])


def by_loops(u, labels, alpha, margin):
    """Paper, Eq. 4, a mean over ordered pairs, and its gradient, Eq. 5 and 6."""
    num_rows = len(u)
    value, slope, pairs = 0.0, np.zeros_like(u), num_rows * (num_rows - 1)
    for i in range(num_rows):
        for j in range(num_rows):
            if i == j:
                continue
            difference = u[i] - u[j]
            squared = (difference**2).sum()
            if (labels[i] * labels[j]).any():
                value += 0.5 * squared / pairs
                pull = difference
            else:
                value += 0.5 * max(margin - squared, 0.0) / pairs
                pull = -difference if squared < margin else 0 * difference
            slope[i] += pull / pairs
            slope[j] -= pull / pairs
            for row in (i, j):
                value += alpha * np.abs(np.abs(u[row]) - 1).sum() / pairs
                slope[row] += alpha * np.sign(np.abs(u[row]) - 1) * np.sign(u[row]) / pairs
    return value, slope


@pytest.mark.parametrize("scale", [0.3, 1.5])
def test_loss_and_gradient_by_loops(scale):
    # At the smaller scale every pair is within the margin, at the larger one some are not.
    logits = scale * np.random.default_rng(1).normal(size=(5, 3))
    value, slope = step(logits, alpha=0.2, margin_per_bit=1.0)
    expected, expected_slope = by_loops(logits[:4], LABELS[:4], 0.2, 3.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slope[:4], expected_slope, atol=1e-6)
    assert (slope[4] == 0).all()


@pytest.mark.parametrize("num_different", [2, 3])
def test_codes_that_differ_in_half_of_the_bits_are_far_enough(num_different):
    codes = np.ones((3, 4))
    codes[1, :num_different] = -1
    assert step(codes, labels=np.eye(3))[0] == 0
    # One bit nearer costs half of the four that are missing in the squared distance.
    codes[1, 1:] = 1
    np.testing.assert_allclose(step(codes, labels=np.eye(3))[0], 2.0)


def test_distances_of_large_near_outputs_do_not_cancel():
    a = jnp.array([[4096.0, 1.0]])
    b = jnp.array([[4096.0, 1.0], [4096.25, 1.0]])
    np.testing.assert_array_equal(dsh.squared_distances(a, b), [[0.0, 0.0625]])


def test_settings_have_ranges():
    for change in ({"alpha": -0.1}, {"margin_per_bit": 0.0}):
        with pytest.raises(UserError, match=f"dsh.{next(iter(change))}"):
            dsh.DSHSettings(**change).checked("dsh.")
