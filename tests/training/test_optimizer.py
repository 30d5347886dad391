"""The optimiser with two learning rates, against updates computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from drlhash_jax.training.optimizer import OPTIMIZERS, make_optimizer


def layers():
    return {
        "dense0": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 4.0)},
        "head": {"kernel": jnp.full((2, 1), -1.0), "bias": jnp.full(1, 3.0)},
    }


def run(optimizer, params, gradients):
    state = optimizer.init(params)
    trail = [params]
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, trail[-1])
        trail.append(optax.apply_updates(trail[-1], updates))
    return trail


def constant_gradient(value):
    return jax.tree.map(lambda x: jnp.full(x.shape, value), layers())


def flat(layer):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(layer)])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_learning_rate_groups(name):
    for rates, still, moving in (((0.0, 0.1), "dense0", "head"), ((0.1, 0.0), "head", "dense0")):
        trail = run(make_optimizer(name, *rates), layers(), [constant_gradient(0.5)] * 2)
        np.testing.assert_array_equal(flat(trail[-1][still]), flat(trail[0][still]))
        assert (flat(trail[-1][moving]) < flat(trail[0][moving])).all()


def test_sgd_has_no_momentum():
    trail = run(make_optimizer("sgd", 0.1, 1.0, momentum=0.9), layers(), [constant_gradient(0.5)] * 2)
    # Two steps of rate * .5.
    np.testing.assert_allclose(flat(trail[0]["dense0"]) - flat(trail[2]["dense0"]), np.full(6, 0.1), rtol=1e-5)
    np.testing.assert_allclose(flat(trail[0]["head"]) - flat(trail[2]["head"]), np.full(3, 1.0), rtol=1e-5)


def test_momentum():
    gradients = [constant_gradient(value) for value in (1.0, 2.0, 4.0)]
    trail = run(make_optimizer("momentum", 0.1, 0.01, momentum=0.5), layers(), gradients)
    # Velocity: 1, then .5 * 1 + 2 = 2.5, then .5 * 2.5 + 4 = 5.25; 8.75 in all.
    np.testing.assert_allclose(flat(trail[0]["dense0"]) - flat(trail[3]["dense0"]), np.full(6, 0.875), rtol=1e-5)
    np.testing.assert_allclose(flat(trail[0]["head"]) - flat(trail[3]["head"]), np.full(3, 0.0875), rtol=1e-4)


def test_first_step_of_adam_is_the_rate():
    trail = run(make_optimizer("adam", 0.1, 0.01), layers(), [constant_gradient(-7.0)])
    np.testing.assert_allclose(flat(trail[1]["dense0"]) - flat(trail[0]["dense0"]), np.full(6, 0.1), rtol=1e-4)
    np.testing.assert_allclose(flat(trail[1]["head"]) - flat(trail[0]["head"]), np.full(3, 0.01), rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "momentum"])
def test_weight_decay_is_for_kernels_alone(name):
    trail = run(make_optimizer(name, 0.1, 0.2, weight_decay=0.25), layers(), [constant_gradient(0.0)])
    # w - rate * decay * w: 2 (1 - .025) and -1 (1 - .05).
    np.testing.assert_allclose(trail[1]["dense0"]["kernel"], np.full((2, 2), 1.95), rtol=1e-6)
    np.testing.assert_allclose(trail[1]["head"]["kernel"], np.full((2, 1), -0.95), rtol=1e-6)
    np.testing.assert_array_equal(trail[1]["dense0"]["bias"], np.full(2, 4.0))
    np.testing.assert_array_equal(trail[1]["head"]["bias"], np.full(1, 3.0))


def test_weight_decay_of_adam_is_decoupled():
    trail = run(make_optimizer("adam", 0.1, 0.2, weight_decay=0.25), layers(), [constant_gradient(1.0)])
    # w - rate (1 + decay w): 2 - .1 (1 + .5); a bias 4 - .1.
    np.testing.assert_allclose(trail[1]["dense0"]["kernel"], np.full((2, 2), 1.85), rtol=1e-5)
    np.testing.assert_allclose(trail[1]["dense0"]["bias"], np.full(2, 3.9), rtol=1e-5)
    np.testing.assert_allclose(trail[1]["head"]["kernel"], np.full((2, 1), -1 - 0.2 * 0.75), rtol=1e-5)


def test_cosine_schedule():
    optimizer = make_optimizer("sgd", 1.0, 0.5, schedule="cosine", num_steps=4)
    trail = run(optimizer, layers(), [constant_gradient(1.0)] * 5)
    moved = [flat(a["dense0"])[0] - flat(b["dense0"])[0] for a, b in zip(trail, trail[1:])]
    # (1 + cos(pi t/4))/2 for t = 0 .. 4.
    np.testing.assert_allclose(moved, [1.0, 0.853553, 0.5, 0.146447, 0.0], atol=1e-5)
    moved = [flat(a["head"])[0] - flat(b["head"])[0] for a, b in zip(trail, trail[1:])]
    np.testing.assert_allclose(moved, [0.5, 0.426777, 0.25, 0.073223, 0.0], atol=1e-5)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="rmsprop"):
        make_optimizer("rmsprop", 0.1, 0.1)
    with pytest.raises(ValueError, match="linear"):
        make_optimizer("sgd", 0.1, 0.1, schedule="linear")
