"""DRLIH: the agent step by step, the public code's loss by loops, and the policy gradient over all draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from test_triplets import WEIGHTS, all_triplets, batch_of

from drlhash_jax.encoders import make_encoder
from drlhash_jax.methods import Ingredients, drlih
from drlhash_jax.training import Batch, TrainingSettings


def test_the_agent_goes_on_from_its_own_state():
    settings = drlih.DRLIHSettings(features=5)
    given = Ingredients(4, make_encoder("mlp", 4, hidden=(6,)), TrainingSettings(), settings)
    network = drlih.Agent(given.encoder.clone(num_outputs=5), 5, 4)
    x = jax.random.normal(jax.random.key(0), (3, 7))
    params = network.init(jax.random.key(1), x)["params"]
    assert set(params) == {"dense0", "head", "head_cell", "head_bit"}
    hidden = np.maximum(x @ params["dense0"]["kernel"] + params["dense0"]["bias"][None], 0)
    state = hidden @ params["head"]["kernel"] + params["head"]["bias"][None]
    cell, expected = params["head_cell"], []
    for _ in range(4):
        state = np.tanh(state @ cell["i"]["kernel"] + cell["i"]["bias"][None] + state @ cell["h"]["kernel"])
        expected.append(state @ params["head_bit"]["kernel"][:, 0] + params["head_bit"]["bias"])
    np.testing.assert_allclose(drlih.make(given).logits(params, x), np.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_released_loss_by_loops_with_its_gradient():
    settings = drlih.DRLIHSettings(margin=0.05, policy_weight=0.2)
    logits = 2 * jax.random.normal(jax.random.key(0), (6, 4))

    def by_loops(u):
        p = jax.nn.sigmoid(u)
        far = lambda i, j: jnp.sqrt(((p[i] - p[j]) ** 2).sum())
        hinges = [jnp.maximum(0.0, 0.05 + far(i, j) - far(i, k)) for i, j, k in all_triplets()]
        assert 0 < sum(float(each) == 0 for each in jax.lax.stop_gradient(hinges)) < len(hinges)
        triplets = sum(hinges) / len(hinges)
        chosen = jnp.where(p >= 0.5, p, 1 - p)
        doubt = -jnp.log(chosen).mean(axis=1) @ WEIGHTS / WEIGHTS.sum()
        return 0.8 * triplets + 0.2 * jax.lax.stop_gradient(triplets) * doubt

    with jax.disable_jit():
        value, slope = jax.value_and_grad(by_loops)(logits)
    found, gradient = jax.value_and_grad(lambda u: drlih.released_loss(u, batch_of(), settings, None))(logits)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)


def test_rows_of_equal_codes_have_a_finite_gradient():
    slope = jax.grad(lambda u: drlih.released_loss(u, batch_of(), drlih.DRLIHSettings(), None))(jnp.zeros((6, 4)))
    assert jnp.isfinite(slope).all()


def test_over_all_draws_the_estimate_is_the_gradient_of_the_expected_cost():
    """Three rows of two bits: two of a class, so that two triplets count."""
    logits = jnp.array([[0.4, -1.1], [-0.3, 0.8], [0.9, 0.2]])
    batch = Batch(None, jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), jnp.arange(3), jnp.ones(3))
    draws = np.array(list(itertools.product([0.0, 1.0], repeat=6)), np.float32).reshape(-1, 3, 2)
    far = lambda draw, i, j: (draw[i] != draw[j]).sum()
    costs = np.array(
        [np.mean([max(0, 1 + far(draw, i, j) - far(draw, i, 2)) for i, j in ((0, 1), (1, 0))]) for draw in draws]
    )

    def probabilities(u):
        p = jax.nn.sigmoid(u)
        return jnp.prod(jnp.where(draws == 1, p[None], 1 - p[None]), axis=(1, 2))

    expected, slope = jax.value_and_grad(lambda u: probabilities(u) @ costs.astype(np.float32))(logits)
    both = np.stack([np.repeat(draws, 64, axis=0), np.tile(draws, (64, 1, 1))], axis=2)
    weights = jnp.outer(probabilities(logits), probabilities(logits)).ravel()
    each = jax.value_and_grad(drlih.sampled_loss)
    values, slopes = jax.vmap(lambda bits: each(logits, bits, batch, 1.0, None))(both)
    np.testing.assert_allclose(weights @ values, expected, rtol=1e-5)
    np.testing.assert_allclose(jnp.tensordot(weights, slopes, 1), slope, atol=2e-6)
    assert float(jnp.abs(slope).max()) > 0.1
