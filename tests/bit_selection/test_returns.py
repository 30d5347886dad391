"""Generalised advantages against hand-computed numbers, limiting cases and the sum that defines them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from drlhash_jax.bit_selection.returns import generalized_advantage


def random_trajectory(seed, num_steps):
    rng = np.random.default_rng(seed)
    discount = np.where(rng.random(num_steps) < 0.2, 0.0, 0.9)
    r_t, v_tm1, v_t = rng.normal(size=(3, num_steps))
    return tuple(x.astype(np.float32) for x in (r_t, discount, v_tm1, v_t))


def test_golden_numbers():
    r_t = jnp.array([1.0, 0.0, 2.0])
    discount_t = jnp.array([0.5, 0.5, 0.0])
    v_tm1 = jnp.array([1.0, 2.0, 3.0])
    v_t = jnp.array([2.0, 3.0, 7.0])
    # delta_2 = 2 + 0 * 7 - 3 = -1, delta_1 = 0 + .5 * 3 - 2 = -.5, delta_0 = 1 + .5 * 2 - 1 = 1
    # A_2 = -1, A_1 = -.5 + .5 * .5 * -1 = -.75, A_0 = 1 + .5 * .5 * -.75 = .8125
    advantage = generalized_advantage(r_t, discount_t, v_tm1, v_t, 0.5)
    np.testing.assert_allclose(advantage, [0.8125, -0.75, -1.0], rtol=1e-6)


def test_discount_zero_cuts_the_trajectory():
    r_t = jnp.array([0.0, 1.0, 0.0, 5.0])
    discount_t = jnp.array([1.0, 0.0, 1.0, 0.0])
    v_tm1 = jnp.array([0.5, 0.25, 1.0, 2.0])
    v_t = jnp.array([0.25, 1.0, 2.0, 9.0])
    # Second episode: A_3 = 5 - 2 = 3, A_2 = (0 + 2 - 1) + 3 = 4.
    # First: A_1 = 1 - .25 = .75, A_0 = (.25 - .5) + .75 = .5.
    np.testing.assert_allclose(generalized_advantage(r_t, discount_t, v_tm1, v_t, 1.0), [0.5, 0.75, 4.0, 3.0])


@pytest.mark.parametrize("seed", range(3))
def test_lambda_one_is_discounted_return_minus_value(seed):
    num_steps = 9
    rng = np.random.default_rng(seed)
    r_t = rng.normal(size=num_steps).astype(np.float32)
    values = rng.normal(size=num_steps + 1).astype(np.float32)
    gamma = np.float32(0.8)
    discount_t = np.full(num_steps, gamma)
    returns = np.zeros(num_steps)
    for t in range(num_steps):
        for later in range(t, num_steps):
            returns[t] += gamma ** (later - t) * r_t[later]
        returns[t] += gamma ** (num_steps - t) * values[num_steps]
    advantage = generalized_advantage(r_t, discount_t, values[:-1], values[1:], 1.0)
    np.testing.assert_allclose(advantage, returns - values[:-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_lambda_zero_is_the_one_step_difference(seed):
    r_t, discount_t, v_tm1, v_t = random_trajectory(seed, 7)
    advantage = generalized_advantage(r_t, discount_t, v_tm1, v_t, 0.0)
    np.testing.assert_allclose(advantage, r_t + discount_t * v_t - v_tm1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lambda_", [0.3, 0.95])
@pytest.mark.parametrize("num_steps", [1, 2, 16])
def test_matches_backward_loop(num_steps, lambda_):
    r_t, discount_t, v_tm1, v_t = (x.astype(np.float64) for x in random_trajectory(num_steps, num_steps))
    expected, after = np.zeros(num_steps), 0.0
    for t in range(num_steps - 1, -1, -1):
        after = r_t[t] + discount_t[t] * v_t[t] - v_tm1[t] + discount_t[t] * lambda_ * after
        expected[t] = after
    as32 = [np.float32(x) for x in (r_t, discount_t, v_tm1, v_t)]
    np.testing.assert_allclose(generalized_advantage(*as32, lambda_), expected, rtol=1e-5, atol=1e-5)


def test_vmap_over_trajectories():
    trajectories = [random_trajectory(seed, 5) for seed in range(3)]
    stacked = [np.stack(field) for field in zip(*trajectories)]
    together = jax.vmap(generalized_advantage, in_axes=(0, 0, 0, 0, None))(*stacked, 0.9)
    for row, trajectory in zip(together, trajectories):
        np.testing.assert_allclose(row, generalized_advantage(*trajectory, 0.9), rtol=1e-6)


def test_gradients():
    r_t, discount_t, v_tm1, v_t = random_trajectory(0, 4)
    function = lambda r, v, w: generalized_advantage(r, discount_t, v, w, 0.7)
    check_grads(function, (r_t, v_tm1, v_t), order=1, modes=("fwd", "rev"), atol=1e-2, rtol=1e-2)


def test_shapes_that_differ_are_refused():
    with pytest.raises(AssertionError):
        generalized_advantage(jnp.zeros(3), jnp.zeros(3), jnp.zeros(4), jnp.zeros(3), 0.5)
