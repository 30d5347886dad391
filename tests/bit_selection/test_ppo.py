"""PPO: its records, its loss against NumPy, its stopping rule, reproducibility, and a pool with a known best set."""

import dataclasses
import itertools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax import parallel
from drlhash_jax.bit_selection import PPOSettings, init_state, order_reward, ppo, train_chunk
from drlhash_jax.bit_selection.episodes import Episodes, mode_order, rollout
from drlhash_jax.bit_selection.ppo import Minibatch, Rates, advantages_and_returns, ppo_loss, rates_of
from drlhash_jax.errors import UserError


def log_softmax_over_legal(logits, legal):
    """Log-probabilities float64 ``[k]``, -inf where illegal."""
    logits = np.where(legal, np.asarray(logits, np.float64), -np.inf)
    top = logits.max()
    return logits - top - np.log(np.exp(logits - top).sum())


def with_bias(params, bias):
    """The parameters with other biases of the policy's last layer."""
    return params | {"policy": params["policy"] | {"bias": jnp.array(bias)}}


def test_rollout(small_env, small_network, small_params):
    num_selected, num_envs, pool_bits = 3, 8, small_env.pool_bits
    # Far from uniform, so that wrong log-probabilities show.
    params = with_bias(small_params, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    play = jax.jit(rollout, static_argnums=(1, 4, 5))
    episodes = play(jax.random.key(1), small_network, params, small_env, num_selected, num_envs)
    selected, actions = np.asarray(episodes.selected), np.asarray(episodes.actions)
    assert selected.shape == (num_selected, num_envs, pool_bits)
    logits, values = jax.jit(small_network.apply)({"params": params}, selected)
    np.testing.assert_allclose(episodes.values, values, rtol=1e-5, atol=1e-6)
    for env in range(num_envs):
        picked = actions[:, env].tolist()
        assert len(set(picked)) == num_selected and set(picked) <= set(range(pool_bits))
        for t in range(num_selected):
            assert set(np.flatnonzero(selected[t, env])) == set(picked[:t])
            log_probs = log_softmax_over_legal(logits[t, env], ~selected[t, env])
            np.testing.assert_allclose(episodes.log_probs[t, env], log_probs[picked[t]], rtol=1e-4, atol=1e-5)
        assert (episodes.rewards[:-1] == 0).all()
        np.testing.assert_allclose(episodes.rewards[-1, env], order_reward(small_env, actions[:, env]), rtol=1e-6)
    # Environments do not play the same episode, and another key plays others.
    assert len({tuple(actions[:, env]) for env in range(num_envs)}) > 1
    assert not np.array_equal(
        play(jax.random.key(2), small_network, params, small_env, num_selected, num_envs).actions, actions
    )


def test_mode_order_is_the_most_probable_legal_bit(small_env, small_network, small_params):
    params = with_bias(small_params, [0.0, 3.0, -1.0, 2.0, 2.5, 1.0])
    # The bias dwarfs the rest of the first policy: bits by falling bias.
    assert jax.jit(mode_order, static_argnums=(0, 3))(small_network, params, small_env, 4).tolist() == [1, 4, 3, 5]


def test_advantages_of_an_episode():
    settings = PPOSettings(discount=0.5, gae_lambda=1.0)
    values = jnp.array([[1.0, 0.0], [2.0, -1.0], [4.0, 1.0]])
    filler = jnp.zeros((3, 2))
    episodes = Episodes(filler, filler, filler, values, filler + 100.0)
    scores = jnp.array([[0.0, 0.0], [0.0, 0.0], [8.0, -4.0]])
    advantages, returns = advantages_and_returns(episodes, scores, settings)
    # The score is paid at the last step, which is terminal; with lambda 1 the target is .5^(steps to go) times it.
    np.testing.assert_allclose(returns, [[2.0, -1.0], [4.0, -2.0], [8.0, -4.0]], rtol=1e-6)
    np.testing.assert_allclose(advantages, [[1.0, -1.0], [2.0, -1.0], [4.0, -5.0]], rtol=1e-6)


# A stand-in for the networks: the parameters are the logits and values themselves.
FIXED = SimpleNamespace(apply=lambda given, selected: (given["params"]["logits"], given["params"]["values"]))


def loss_of(params, batch, settings):
    return ppo_loss(params, batch, settings.entropy_cost, network=FIXED, settings=settings)


def one_step(logits, action, old_probability, advantage):
    """A batch of one step from the empty mask, with value and return 0."""
    params = {"logits": jnp.array([logits]), "values": jnp.zeros(1)}
    batch = Minibatch(
        selected=jnp.zeros((1, len(logits)), bool),
        actions=jnp.array([action], jnp.int32),
        log_probs=jnp.log(jnp.array([old_probability])),
        advantages=jnp.array([advantage]),
        returns=jnp.zeros(1),
    )
    return params, batch


def test_loss_at_ratio_one():
    settings = PPOSettings(clip_epsilon=0.2, value_cost=0.25, entropy_cost=0.125)
    params = {"logits": jnp.zeros((2, 2)), "values": jnp.array([1.0, 0.0])}
    batch = Minibatch(
        selected=jnp.zeros((2, 2), bool),
        actions=jnp.array([0, 1], jnp.int32),
        log_probs=jnp.log(jnp.array([0.5, 0.5])),
        advantages=jnp.array([1.0, 3.0]),
        returns=jnp.array([3.0, -1.0]),
    )
    loss, losses = loss_of(params, batch, settings)
    np.testing.assert_allclose(losses.policy, -2.0, rtol=1e-6)  # -(1 + 3)/2
    np.testing.assert_allclose(losses.value, 1.25, rtol=1e-6)  # 1/2 * (2^2 + 1^2)/2
    np.testing.assert_allclose(losses.entropy, np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(losses.kl, 0.0, atol=1e-6)
    np.testing.assert_allclose(loss, -2.0 + 0.25 * 1.25 - 0.125 * np.log(2.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("action", "advantage", "policy_loss", "clipped"),
    [
        (0, 2.0, -2.4, True),  # ratio .75/.5 = 1.5: min(1.5 * 2, 1.2 * 2) = 2.4
        (0, -2.0, 3.0, False),  # min(1.5 * -2, 1.2 * -2) = -3
        (1, 2.0, -1.0, False),  # ratio .25/.5 = .5: min(.5 * 2, .8 * 2) = 1
        (1, -2.0, 1.6, True),  # min(.5 * -2, .8 * -2) = -1.6
    ],
)
def test_clipping(action, advantage, policy_loss, clipped):
    settings = PPOSettings(clip_epsilon=0.2, value_cost=0.0, entropy_cost=0.0)
    params, batch = one_step([np.log(3.0), 0.0], action, 0.5, advantage)
    (loss, losses), gradient = jax.value_and_grad(loss_of, has_aux=True)(params, batch, settings)
    np.testing.assert_allclose(loss, policy_loss, rtol=1e-5)
    np.testing.assert_allclose(losses.policy, policy_loss, rtol=1e-5)
    # Unclipped: d(-ratio A)/d logit_j = -ratio A ([j = a] - p_j).
    ratio, probs = (1.5, 0.5)[action], np.array([0.75, 0.25])
    expected = np.zeros(2) if clipped else -ratio * advantage * ((np.arange(2) == action) - probs)
    np.testing.assert_allclose(gradient["logits"][0], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(gradient["values"], np.zeros(1))


def test_kl_estimate():
    params, batch = one_step([np.log(3.0), 0.0], 0, 0.5, 1.0)
    _, losses = loss_of(params, batch, PPOSettings())
    np.testing.assert_allclose(losses.kl, 1.5 - 1 - np.log(1.5), rtol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_loss_against_loops(seed):
    rng = np.random.default_rng(seed)
    num_steps, pool_bits = 12, 5
    settings = PPOSettings(clip_epsilon=0.3, value_cost=0.7, entropy_cost=0.05)
    selected = rng.random((num_steps, pool_bits)) < 0.4
    selected[:, seed] = False
    logits = 2 * rng.normal(size=(num_steps, pool_bits))
    values, returns, advantages = rng.normal(size=(3, num_steps))
    actions = np.array([rng.choice(np.flatnonzero(~row)) for row in selected])
    old = np.log(rng.uniform(0.1, 0.9, num_steps))
    policy, value, entropy, kl = [], [], [], []
    for m in range(num_steps):
        log_probs = log_softmax_over_legal(logits[m], ~selected[m])
        ratio = np.exp(log_probs[actions[m]] - old[m])
        limited = min(max(ratio, 1 - 0.3), 1 + 0.3)
        policy.append(-min(ratio * advantages[m], limited * advantages[m]))
        value.append(0.5 * (values[m] - returns[m]) ** 2)
        entropy.append(-sum(np.exp(x) * x for x in log_probs if np.isfinite(x)))
        kl.append(ratio - 1 - (log_probs[actions[m]] - old[m]))
    as32 = lambda x: jnp.asarray(x, jnp.float32)
    batch = Minibatch(jnp.asarray(selected), jnp.asarray(actions), as32(old), as32(advantages), as32(returns))
    loss, losses = loss_of({"logits": as32(logits), "values": as32(values)}, batch, settings)
    means = [np.mean(x) for x in (policy, value, entropy, kl)]
    np.testing.assert_allclose(losses, means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, means[0] + 0.7 * means[1] - 0.05 * means[2], rtol=1e-4, atol=1e-5)


def train(seed, env, settings, chunks, num_selected=3):
    """Params, best reward, best order and metrics after `chunks` updates each call."""
    init_key, train_key = jax.random.split(jax.random.key(seed))
    state = init_state(init_key, env, num_selected, settings)
    metrics = []
    for num_updates in chunks:
        state, out = train_chunk(
            train_key, state, env, num_selected=num_selected, num_updates=num_updates, settings=settings
        )
        metrics.append(out)
    return state, jax.tree.map(lambda *x: np.concatenate(x), *metrics)


def steps_taken(state):
    """Optimiser steps, by the integer counters in its state."""
    counters = {int(leaf) for leaf in jax.tree.leaves(state.opt_state) if jnp.issubdtype(leaf.dtype, jnp.integer)}
    assert len(counters) == 1
    return counters.pop()


def test_without_kl_stop_every_minibatch_is_a_step(small_env, small_settings):
    state, _ = train(0, small_env, small_settings, [5])
    assert steps_taken(state) == 5 * 2 * 2  # updates, passes, minibatches


def test_kl_stop(small_env, small_settings):
    # The first minibatch of an update is met with the policy that acted, where the KL is 0 up to rounding; after one
    # step it is above a millionth, and the update learns no more. The next update starts afresh.
    settings = small_settings.replace(target_kl=1e-6, learning_rate=0.01)
    before = init_state(jax.random.split(jax.random.key(0))[0], small_env, 3, settings).params
    state, _ = train(0, small_env, settings, [1])
    assert steps_taken(state) == 1
    moved = max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (state.params, before))))
    # One step of Adam moves no parameter by more than its rate.
    assert 0.005 < moved <= 0.01001
    state, _ = train(0, small_env, settings, [1, 1, 1])
    assert steps_taken(state) == 3


def test_rates_fall_to_zero_by_the_number_of_the_update():
    settings = PPOSettings(num_updates=4, learning_rate=0.5, entropy_cost=2.0)
    first = Rates(jnp.float32(settings.learning_rate), jnp.float32(settings.entropy_cost))
    rates = rates_of(SimpleNamespace(update=jnp.arange(5), rates=first), settings.num_updates)
    np.testing.assert_allclose(rates.learning_rate, [0.5, 0.375, 0.25, 0.125, 0.0], rtol=1e-6)
    np.testing.assert_allclose(rates.entropy_cost, [2.0, 1.5, 1.0, 0.5, 0.0], rtol=1e-6)


def test_the_learning_rate_falls_though_passes_stop_early(small_env, small_settings):
    # One step per update, see `test_kl_stop`: the optimiser counts a quarter of the steps that could have been. Adam
    # moves some parameter by its whole rate in its first step, and so tells the rate.
    settings = small_settings.replace(target_kl=1e-6, learning_rate=0.01)
    update = jax.jit(lambda state: ppo.update(jax.random.key(1), state, small_env, num_selected=3, settings=settings))
    moved = []
    for number in (0, 10, 19, 20):
        state = init_state(jax.random.key(0), small_env, 3, settings)
        before = jax.tree.map(np.array, state.params)
        after, _ = update(state.replace(update=jnp.array(number, jnp.int32), reward_mean=jnp.array([0.0, 0.0, 0.4])))
        moved.append(max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (after.params, before)))))
    np.testing.assert_allclose(moved, [0.01, 0.005, 0.0005, 0.0], rtol=0.02, atol=1e-7)


def range_cases():
    for field in dataclasses.fields(PPOSettings):
        for value in (float("inf"), -float("inf"), float("nan"), 10**20, -(10**20), -1, "1", None, True):
            yield field.name, value


@pytest.mark.parametrize(("name", "value"), list(range_cases()))
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=f"ppo.{name}="):
        PPOSettings.from_config({name: value}, "ppo.")


@pytest.mark.parametrize("end", ["least", "most"])
def test_training_is_finite_at_the_ends_of_every_range(end, small_env, small_settings):
    sizes = {"num_updates", "num_envs", "num_epochs", "num_minibatches", "hidden", "population"}
    floats = [field for field in dataclasses.fields(PPOSettings) if field.name not in sizes]
    settings = small_settings.replace(**{field.name: float(field.metadata[end]) for field in floats}).checked()
    _, metrics = train(0, small_env, settings, [2])
    assert all(np.isfinite(values).all() for values in metrics)


def test_same_key_same_result_whatever_the_chunks(small_env, small_settings):
    whole, whole_metrics = train(0, small_env, small_settings, [5, 5])
    for chunks in ([5, 5], [10]):
        again, metrics = train(0, small_env, small_settings, chunks)
        chex.assert_trees_all_equal(again, whole)
        chex.assert_trees_all_equal(metrics, whole_metrics)
    other, _ = train(1, small_env, small_settings, [5, 5])
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (other.params, whole.params))))


def test_metrics_and_best_set(small_env, small_settings):
    state, metrics = train(2, small_env, small_settings, [5, 5])
    assert int(state.update) == 10
    assert all(field.shape == (10,) and np.isfinite(field).all() for field in metrics)
    assert (metrics.mean_reward <= metrics.max_reward).all()
    np.testing.assert_array_equal(
        metrics.best_reward, np.maximum.accumulate(np.maximum(metrics.max_reward, metrics.mode_reward))
    )
    order = np.asarray(state.best_order)
    assert len(set(order.tolist())) == 3 and set(order.tolist()) <= set(range(6))
    assert state.best_reward == metrics.best_reward[-1]
    np.testing.assert_allclose(order_reward(small_env, order), state.best_reward, rtol=1e-6)
    # Entropy of a nearly uniform policy at 6, 5 and 4 legal bits.
    np.testing.assert_allclose(metrics.entropy[0], np.log([6, 5, 4]).mean(), atol=0.05)
    assert (metrics.kl >= -1e-6).all()
    # Scores are measured from the first update's episodes for good.
    np.testing.assert_allclose(state.reward_mean, [0, 0, metrics.mean_reward[0]], rtol=1e-6)


def test_every_update_draws_its_own_episodes(small_env, small_settings):
    # The same parameters and key, at two numbers of the update.
    init_key, train_key = jax.random.split(jax.random.key(0))
    rewards = []
    for number in (0, 7):
        state = init_state(init_key, small_env, 3, small_settings).replace(update=jnp.array(number, jnp.int32))
        _, metrics = train_chunk(train_key, state, small_env, num_selected=3, num_updates=5, settings=small_settings)
        rewards.append(float(metrics.mean_reward[0]))
    assert rewards[0] != rewards[1]


def test_one_environment(small_env):
    # The rewards of one episode have no spread to measure the later ones by; the critic must stay in reason all the
    # same, or its gradients drown the policy's in the common clipping.
    settings = PPOSettings(num_updates=4, num_envs=1, num_epochs=2, num_minibatches=1)
    _, metrics = train(0, small_env, settings, [4])
    assert np.ptp(metrics.mean_reward) > 0.01
    assert metrics.value_loss.max() < 1e3


def test_no_recompilation(small_env, small_settings):
    # What comes out has the types of what went in, weak types included: the second call finds the program of the first.
    before = init_state(jax.random.key(0), small_env, 3, small_settings)
    types = [leaf.aval for leaf in jax.tree.leaves(before)]
    after, _ = train(0, small_env, small_settings, [5, 5])
    assert [leaf.aval for leaf in jax.tree.leaves(after)] == types
    static = {"num_selected": 3, "num_updates": 5, "settings": small_settings}
    program = parallel.wrap_step(ppo.update_repeatedly, None, donate_argnums=(1,), **static)
    compiled = program._cache_size()
    assert compiled > 0
    train(1, small_env, small_settings, [5, 5, 5])
    assert program._cache_size() == compiled


def class_bit_pool(make_env, pool_bits, class_bits, seed):
    """A pool where a few bits spell the class and the others are noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for num_rows in (48, 128):
        labels = np.arange(num_rows) % 2 ** len(class_bits)
        codes = rng.integers(0, 2, (num_rows, pool_bits))
        for place, bit in enumerate(class_bits):
            codes[:, bit] = (labels >> place) & 1
        parts.append((codes.astype(np.uint8), labels))
    (query, query_labels), (database, database_labels) = parts
    return make_env((query, database, query_labels, database_labels))


@pytest.mark.slow
def test_finds_the_class_bits(make_env):
    pool_bits, class_bits = 20, (3, 8, 13, 17)
    env = class_bit_pool(make_env, pool_bits, class_bits, seed=0)
    subsets = np.array(list(itertools.combinations(range(pool_bits), 4)))
    rewards = np.asarray(jax.jit(lambda orders: jax.lax.map(lambda order: order_reward(env, order), orders))(subsets))
    assert subsets[rewards.argmax()].tolist() == list(class_bits)
    assert np.sort(rewards)[-2] < 0.8  # nothing else comes near
    # 40 updates of 16 episodes see at most 640 of 4,845 subsets; random sets of that number miss the best with 87 %.
    settings = PPOSettings(num_updates=40, num_envs=16, num_epochs=8, num_minibatches=4, target_kl=0.1)
    settings = settings.replace(learning_rate=1e-3, entropy_cost=0.005)
    assert len(subsets) / 7 > 40 * 16
    for seed in range(3):
        state, metrics = train(seed, env, settings, [40], num_selected=4)
        assert sorted(np.asarray(state.best_order).tolist()) == list(class_bits)
        np.testing.assert_allclose(state.best_reward, rewards.max(), rtol=1e-6)
        # The policy has learnt it too: its mode is the best set, and its samples are far better than at the start.
        np.testing.assert_allclose(metrics.mode_reward[-1], rewards.max(), rtol=1e-6)
        assert metrics.mean_reward[-5:].mean() > 0.7 > 0.3 > metrics.mean_reward[0]
