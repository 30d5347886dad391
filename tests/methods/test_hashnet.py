"""HashNet: weights of the two kinds of pairs, the loss by loops, its gradient, and a tanh that becomes steeper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.encoders import make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.methods import Ingredients, hashnet
from drlhash_jax.methods.hashnet import HashNetSettings, steepness
from drlhash_jax.training import Batch, State, TrainingSettings, gradient

TRAINING = TrainingSettings(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)
LOGITS = np.array([[0.3, -0.2, 0.9], [-0.5, 0.4, 0.1], [0.7, 0.6, -0.8], [-0.1, -0.3, 0.2], [9.0, 9.0, 9.0]])
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])


def by_loops(logits, labels, scale, beta):
    """Paper, Eq. 3 and 7: a weighted mean over pairs, with weights |S| / |S_1| and |S| / |S_0|."""
    z = np.tanh(beta * logits)
    similar, terms = [], []
    for i in range(len(z)):
        for j in range(len(z)):
            if i != j:
                theta, s = scale / z.shape[1] * z[i] @ z[j], float((labels[i] * labels[j]).any())
                similar.append(s)
                terms.append(np.log(1 + np.exp(theta)) - s * theta)
    similar, terms = np.array(similar), np.array(terms)
    weights = np.where(similar > 0, len(terms) / max(similar.sum(), 1), len(terms) / max((1 - similar).sum(), 1))
    return (weights * terms).sum() / len(terms)


def step(labels=LABELS, steps=0, **changes):
    """One step of descent with rate 1 of an encoder whose kernel is the logits: loss, change of the logits, extra."""
    settings = HashNetSettings(**changes)
    given = Ingredients(3, make_encoder("mlp", 3, hidden=()), TRAINING, settings)
    params = {"head": {"kernel": jnp.asarray(LOGITS, jnp.float32), "bias": jnp.zeros(3)}}
    state = State(jnp.int32(0), params, gradient._optimizer(TRAINING, 1).init(params), jnp.int32(steps))
    # The last row is padding.
    weights = jnp.array([1.0, 1.0, 1.0, 1.0, 0.0])
    batch = Batch(jnp.eye(5), jnp.asarray(labels, jnp.float32), jnp.arange(5), weights)
    after, metrics = hashnet.make(given).phases[0].step(state, batch, jax.random.key(0), num_steps=1)
    return float(metrics["loss"]), np.asarray(params["head"]["kernel"] - after.params["head"]["kernel"]), after.extra


@pytest.mark.parametrize(("steps", "beta"), [(0, 1.0), (3, 1.0), (4, 3.0)])
def test_loss_and_gradient_by_loops(steps, beta):
    value, slope, extra = step(steps=steps, scale=6.0, beta_rate=2.0, beta_power=0.5, beta_interval=4)
    cost = lambda logits: by_loops(logits, LABELS[:4], 6.0, beta)
    np.testing.assert_allclose(value, cost(LOGITS[:4]), rtol=1e-5)
    expected = np.zeros((4, 3))
    for place in np.ndindex(4, 3):
        shift = np.zeros((4, 3))
        shift[place] = 1e-6
        expected[place] = (cost(LOGITS[:4] + shift) - cost(LOGITS[:4] - shift)) / 2e-6
    np.testing.assert_allclose(slope[:4], expected, atol=1e-5)
    assert (slope[4] == 0).all() and int(extra) == steps + 1


def test_a_kind_of_pairs_that_is_missing_adds_nothing():
    for labels in (np.ones((5, 3)), np.eye(5)[:, :5]):
        value, _, _ = step(labels=labels)
        np.testing.assert_allclose(value, by_loops(LOGITS[:4], labels[:4], HashNetSettings().scale, 1.0), rtol=1e-5)


def test_beta_grows_by_stages():
    settings = HashNetSettings(beta_rate=0.005, beta_power=0.5, beta_interval=200)
    found = [float(steepness(jnp.int32(steps), settings)) for steps in (0, 199, 200, 399, 400, 9_999)]
    np.testing.assert_allclose(found, [1, 1, 2**0.5, 2**0.5, 3**0.5, 50**0.5], rtol=1e-6)
    assert steepness(jnp.int32(900), settings.replace(beta_rate=0.0)) == 1


def test_settings_have_ranges():
    for change in ({"scale": 0.0}, {"beta_rate": -1.0}, {"beta_power": -0.5}, {"beta_interval": 0}):
        with pytest.raises(UserError, match=f"hashnet.{next(iter(change))}"):
            HashNetSettings(**change).checked("hashnet.")
