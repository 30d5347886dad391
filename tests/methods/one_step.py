"""The loss of a method's encoder phase and its gradient, read from one step of plain SGD at rate 1."""

import jax
import jax.numpy as jnp
import numpy as np
from trainings import code_state

from drlhash_jax.encoders import make_encoder
from drlhash_jax.methods import METHODS, Ingredients
from drlhash_jax.training import Batch, TrainingSettings, gradient

SGD = TrainingSettings(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)


def as32(x):
    return jnp.asarray(x, jnp.float32)


def make_linear(name, num_bits, **settings):
    """A method whose encoder is one linear layer."""
    chosen = METHODS[name].settings().replace(**settings)
    return METHODS[name].make(Ingredients(num_bits, make_encoder("mlp", num_bits, hidden=()), SGD, chosen))


def identity_layer(num_bits):
    return {"head": {"kernel": jnp.eye(num_bits), "bias": jnp.zeros(num_bits)}}


def loss_and_gradient(method, params, inputs, labels, weights, extra=None, key=None):
    """The loss, the gradient float64 of each parameter, and the state after the step."""
    batch = Batch(as32(inputs), as32(labels), jnp.arange(len(inputs)), as32(weights), key)
    state = code_state(params, gradient._optimizer(SGD, 1), extra)
    after, metrics = method.phases[-1].step(state, batch, jax.random.key(0), num_steps=1, axis_name=None)
    slopes = jax.tree.map(lambda before, now: np.asarray(before, np.float64) - now, params, after.params)
    return float(metrics["loss"]), slopes, after


def numeric_gradient(function, x, size=1e-5):
    """Central differences of a function of an array float64."""
    slopes = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = size
        slopes[place] = (function(x + step) - function(x - step)) / (2 * size)
    return slopes
