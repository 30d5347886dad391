"""The networks, and the policy that never plays an illegal action."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.bit_selection.actor_critic import masked_policy


def softmax_over_legal(logits, mask):
    """Probabilities float64 ``[k]``, 0 where illegal."""
    probs = np.zeros(len(logits))
    top = max(logits[i] for i in range(len(logits)) if mask[i])
    for i in range(len(logits)):
        if mask[i]:
            probs[i] = np.exp(np.float64(logits[i]) - top)
    return probs / probs.sum()


def random_case(seed, num_actions=9, scale=3.0):
    rng = np.random.default_rng(seed)
    mask = rng.random(num_actions) < 0.5
    mask[rng.integers(num_actions)] = True
    return (scale * rng.normal(size=num_actions)).astype(np.float32), mask


@pytest.mark.parametrize("scale", [0.01, 3.0, 50.0])
@pytest.mark.parametrize("seed", range(3))
def test_matches_softmax_over_legal_actions(seed, scale):
    logits, mask = random_case(seed, scale=scale)
    policy = masked_policy(jnp.asarray(logits), jnp.asarray(mask))
    expected = softmax_over_legal(logits, mask)
    np.testing.assert_allclose(policy.probs, expected, rtol=1e-4, atol=1e-7)
    assert (np.asarray(policy.probs)[~mask] == 0.0).all()
    legal = np.flatnonzero(mask)
    # Very improbable legal actions have a log-probability too: -log sum_j exp(x_j - x_i).
    exact = [-np.log(sum(np.exp(np.float64(logits[j]) - logits[i]) for j in legal)) for i in legal]
    np.testing.assert_allclose(jax.vmap(policy.log_prob)(jnp.asarray(legal)), exact, rtol=1e-4, atol=1e-5)
    entropy = -sum(p * np.log(p) for p in expected if p > 0)
    np.testing.assert_allclose(policy.entropy(), entropy, rtol=1e-4, atol=1e-5)
    assert policy.mode() == max(legal, key=lambda i: logits[i])


def test_large_logit_of_an_illegal_action_is_ignored():
    # The illegal action has by far the largest logit; the two legal ones are equal.
    policy = masked_policy(jnp.array([1e6, 0.0, 0.0]), jnp.array([False, True, True]))
    np.testing.assert_allclose(policy.probs, [0.0, 0.5, 0.5])
    assert policy.mode() in (1, 2)
    np.testing.assert_allclose(policy.entropy(), np.log(2.0), rtol=1e-6)


def test_illegal_actions_are_never_sampled():
    logits, mask = random_case(7)
    logits[~mask] = 20.0
    samples = np.asarray(
        masked_policy(jnp.asarray(logits), jnp.asarray(mask)).sample(seed=jax.random.key(0), sample_shape=10_000)
    )
    assert mask[samples].all()
    expected = softmax_over_legal(logits, mask)
    # Standard error of a frequency is at most .005.
    frequency = np.bincount(samples, minlength=len(mask)) / len(samples)
    np.testing.assert_allclose(frequency, expected, atol=0.025)


def test_gradients_are_finite_and_stay_within_the_legal_actions():
    logits, mask = random_case(2, scale=30.0)
    logits, mask = jnp.asarray(logits), jnp.asarray(mask)
    action = int(np.flatnonzero(mask)[0])
    for value in (lambda x: masked_policy(x, mask).entropy(), lambda x: masked_policy(x, mask).log_prob(action)):
        gradient = np.asarray(jax.grad(value)(logits))
        assert np.isfinite(value(logits)) and np.isfinite(gradient).all()
        assert (gradient[~np.asarray(mask)] == 0.0).all()


def test_gradient_of_log_prob():
    # d log p_a / d x_i = [i = a] - p_i over the legal actions.
    logits, mask = random_case(4)
    action = int(np.flatnonzero(mask)[-1])
    gradient = jax.grad(lambda x: masked_policy(x, jnp.asarray(mask)).log_prob(action))(jnp.asarray(logits))
    expected = (np.arange(len(mask)) == action) - softmax_over_legal(logits, mask)
    np.testing.assert_allclose(gradient, np.where(mask, expected, 0.0), atol=1e-5)


def test_nothing_legal_is_finite():
    mask = jnp.zeros(5, bool)
    logits = jnp.array([3.0, -2.0, 0.0, 100.0, 1.0])
    policy = masked_policy(logits, mask)
    assert np.isfinite(policy.probs).all() and np.isfinite(policy.entropy())
    sample = policy.sample(seed=jax.random.key(1))
    assert 0 <= sample < 5 and np.isfinite(policy.log_prob(sample))
    for value in (lambda x: masked_policy(x, mask).entropy(), lambda x: masked_policy(x, mask).log_prob(2)):
        assert np.isfinite(jax.grad(value)(logits)).all()


def test_one_legal_action_is_certain():
    policy = masked_policy(jnp.array([0.0, -50.0, 9.0]), jnp.array([False, True, False]))
    assert policy.probs.tolist() == [0.0, 1.0, 0.0]
    assert policy.entropy() == 0.0 and policy.log_prob(1) == 0.0


def test_batches_are_rows():
    cases = [random_case(seed) for seed in range(4)]
    logits, mask = (jnp.asarray(np.stack(x)) for x in zip(*cases))
    probs = masked_policy(logits, mask).probs
    for row in range(4):
        np.testing.assert_allclose(probs[row], softmax_over_legal(*cases[row]), rtol=1e-4, atol=1e-7)


def test_networks(small_network, small_params):
    apply = jax.jit(small_network.apply)
    masks = jax.random.bernoulli(jax.random.key(1), 0.5, (5, 6))
    logits, values = apply({"params": small_params}, masks)
    assert logits.shape == (5, 6) and values.shape == (5,)
    assert logits.dtype == values.dtype == jnp.float32
    # The first policy is nearly uniform, whatever is selected.
    np.testing.assert_allclose(jax.nn.softmax(logits, axis=-1), np.full((5, 6), 1 / 6), atol=0.01)
    # But it looks at the mask.
    assert np.ptp(np.asarray(logits), axis=0).max() > 0 and np.ptp(np.asarray(values)) > 0
    one = apply({"params": small_params}, masks[2])
    np.testing.assert_allclose(one.logits, logits[2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.value, values[2], rtol=1e-5, atol=1e-6)


def test_policy_and_value_share_no_parameters(small_network, small_params):
    masks = jnp.arange(12).reshape(2, 6) % 5 == 0
    touched = {}
    for field in ("logits", "value"):
        total = lambda p, field=field: jnp.sum(getattr(small_network.apply({"params": p}, masks), field) ** 2)
        gradient = jax.jit(jax.grad(total))(small_params)
        touched[field] = {layer for layer, leaves in gradient.items() if any(x.any() for x in leaves.values())}
    assert touched["logits"] and touched["value"]
    assert not touched["logits"] & touched["value"]
    assert touched["logits"] | touched["value"] == set(small_params)
