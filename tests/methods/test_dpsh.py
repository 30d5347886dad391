"""DPSH: pairs with a buffer of outputs, by loops; what enters the buffer, and which of its rows count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.methods import Ingredients, dpsh
from drlhash_jax.training import Batch, Start, State, TrainingSettings, gradient

TRAINING = TrainingSettings(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)
NUM_ROWS, NUM_BITS = 7, 3
LABELS = np.array([0, 1, 0, 2, 1, 0, 2])
# Row 5 is not trained on; of the batch's rows 4, 0, 2 the last is padding.
SUBSET, ROWS, WEIGHTS = np.array([0, 1, 2, 3, 4, 6]), np.array([4, 0, 2]), np.array([1.0, 1.0, 0.0])


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, NUM_BITS)).astype(np.float32)
    start = Start(None, LABELS, SUBSET, 3, None, None, {}, 1)
    kept = dpsh._begin(start, NUM_BITS)
    assert not np.asarray(kept.outputs).any()
    return logits, kept.replace(outputs=jnp.asarray(rng.normal(size=(NUM_ROWS, NUM_BITS)), jnp.float32))


def step(logits, kept, eta):
    """One step of descent with rate 1 of an encoder whose kernel is the logits: loss, change of the logits, extra."""
    given = Ingredients(NUM_BITS, make_encoder("mlp", NUM_BITS, hidden=()), TRAINING, dpsh.DPSHSettings(eta))
    params = {"head": {"kernel": jnp.asarray(logits), "bias": jnp.zeros(NUM_BITS)}}
    state = State(jnp.int32(0), params, gradient._optimizer(TRAINING, 1).init(params), kept)
    hot = jnp.asarray(np.eye(3)[LABELS[ROWS]], jnp.float32)
    batch = Batch(jnp.eye(3), hot, jnp.asarray(ROWS), jnp.asarray(WEIGHTS, jnp.float32))
    after, metrics = dpsh.make(given).phases[0].step(state, batch, jax.random.key(0), num_steps=1)
    return float(metrics["loss"]), np.asarray(params["head"]["kernel"] - after.params["head"]["kernel"]), after.extra


def by_loops(logits, buffer, eta):
    """The loss and its gradient, the paper's Eq. 4 and 7 for the pairs of a batch's rows, with means."""
    value, slope = 0.0, np.zeros_like(logits)
    pairs = [(i, j) for i in range(2) for j in SUBSET if j != ROWS[i]]
    for i, j in pairs:
        theta, s = 0.5 * logits[i] @ buffer[j], float(LABELS[ROWS[i]] == LABELS[j])
        value += (np.log(1 + np.exp(theta)) - s * theta) / len(pairs)
        slope[i] += 0.5 * (1 / (1 + np.exp(-theta)) - s) * buffer[j] / len(pairs)
    for i in range(2):
        code = np.where(logits[i] >= 0, 1.0, -1.0)
        value += eta * ((logits[i] - code) ** 2).mean() / 2
        slope[i] += eta * 2 * (logits[i] - code) / NUM_BITS / 2
    return value, slope


def test_loss_gradient_and_buffer_by_loops(case):
    logits, kept = case
    value, slope, after = step(logits, kept, eta=0.3)
    buffer = np.array(kept.outputs, np.float64)
    # The batch's rows are paired with the outputs of this step, and the padding writes nothing.
    buffer[ROWS[:2]] = logits[:2]
    expected, expected_slope = by_loops(logits.astype(np.float64), buffer, 0.3)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-6)
    np.testing.assert_array_equal(after.outputs, buffer.astype(np.float32))


def test_rows_that_are_not_trained_on_do_not_count(case):
    logits, kept = case
    other = kept.replace(outputs=kept.outputs.at[5].set(50.0), labels=kept.labels.at[5].set(1.0))
    for found, expected in zip(step(logits, kept, 0.1)[:2], step(logits, other, 0.1)[:2], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_rows_that_were_never_seen_do_not_pull(case):
    logits, kept = case
    _, slope, _ = step(logits, kept.replace(outputs=jnp.zeros_like(kept.outputs)), eta=0.0)
    buffer = np.zeros((NUM_ROWS, NUM_BITS))
    buffer[ROWS[:2]] = logits[:2]
    # Rows 4 and 0 differ in their label: each is pushed from the other alone.
    _, expected = by_loops(logits.astype(np.float64), buffer, 0.0)
    theta = 0.5 * logits[0] @ logits[1]
    np.testing.assert_allclose(expected[0], 0.5 / (1 + np.exp(-theta)) * logits[1] / 10, rtol=1e-6)
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_settings_have_ranges():
    with pytest.raises(UserError, match=r"dpsh.eta=-1.0: must be a number from 0.0"):
        dpsh.DPSHSettings(-1.0).checked("dpsh.")
