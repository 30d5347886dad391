"""DNNH: a unit for each group, the piecewise threshold, and the loss by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_triplets import all_triplets, batch_of

from drlhash_jax.encoders import make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.methods import Ingredients, dnnh
from drlhash_jax.training import State, TrainingSettings, gradient


def given(num_bits=3, **changes):
    settings = dnnh.DNNHSettings().replace(group_size=4, **changes)
    training = TrainingSettings(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)
    return Ingredients(num_bits, make_encoder("mlp", num_bits, hidden=(5,)), training, settings)


def network_of(ingredients):
    encoder = ingredients.encoder.clone(num_outputs=ingredients.settings.group_size * ingredients.num_bits)
    return dnnh.DivideAndEncode(encoder, ingredients.num_bits)


def test_a_bit_sees_its_own_group_alone():
    x = jax.random.normal(jax.random.key(1), (6, 7))
    params = network_of(given()).init(jax.random.key(0), x)["params"]
    assert jax.tree.map(jnp.shape, params["head_groups"]) == {"kernel": (3, 4), "bias": (3,)}
    assert set(params) == {"dense0", "head", "head_groups"} and params["head"]["kernel"].shape == (5, 12)
    hidden = np.maximum(x @ params["dense0"]["kernel"] + params["dense0"]["bias"][None], 0)
    features = np.maximum(hidden @ params["head"]["kernel"] + params["head"]["bias"][None], 0)
    logits = np.asarray(dnnh.make(given()).logits(params, x))
    for bit in range(3):
        group = features[:, 4 * bit : 4 * bit + 4]
        expected = group @ params["head_groups"]["kernel"][bit] + params["head_groups"]["bias"][bit]
        np.testing.assert_allclose(logits[:, bit], expected, rtol=1e-5, atol=1e-6)


def test_threshold():
    s = jnp.array([0.0, 0.24, 0.26, 0.5, 0.74, 0.76, 1.0])
    np.testing.assert_allclose(dnnh.piecewise_threshold(s, 0.25), [0, 0, 0.26, 0.5, 0.74, 1, 1])
    slopes = jax.vmap(jax.grad(lambda x: dnnh.piecewise_threshold(x, 0.25)))(s)
    np.testing.assert_array_equal(slopes, [0, 0, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(dnnh.piecewise_threshold(s, 0.5), s)
    # The bit of a logit is that of its unit, at 1/2 as well.
    logits = jnp.array([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(logits >= 0, jax.nn.sigmoid(logits) >= 0.5)


def test_loss_and_gradient_of_a_step():
    ingredients = given(margin=0.8, epsilon=0.2)
    phase, x = dnnh.make(ingredients).phases[-1], 3 * jax.random.normal(jax.random.key(1), (6, 7))
    batch = batch_of()._replace(inputs=x)
    network = network_of(ingredients)
    params = network.init(jax.random.key(0), x)["params"]
    state = State(jnp.zeros((), jnp.int32), params, gradient._optimizer(ingredients.training, 1).init(params))
    after, metrics = phase.step(state, batch, jax.random.key(0), num_steps=1, axis_name=None)

    def by_loops(params):
        s = jax.nn.sigmoid(network.apply({"params": params}, x))
        f = jnp.where(s < 0.3, 0.0, jnp.where(s > 0.7, 1.0, s))
        costs = [
            jnp.maximum(0.0, 0.8 + ((f[i] - f[j]) ** 2).sum() - ((f[i] - f[k]) ** 2).sum())
            for i, j, k in all_triplets()
        ]
        return sum(costs) / len(costs)

    value, slope = jax.value_and_grad(by_loops)(params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: a - b, params, after.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), moved, slope)
    assert float(jnp.abs(slope["head_groups"]["kernel"]).max()) > 1e-3


def test_a_threshold_without_a_band_is_refused():
    with pytest.raises(UserError, match="dnnh.epsilon=0.0: must be a number from 0.001 to 0.5"):
        dnnh.DNNHSettings.from_config({"epsilon": 0.0}, "dnnh.")
