"""The bit-selection episode: legality, termination, and a reward equal to the mAP of the chosen bits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.bit_selection import environment, mask_of, subset_reward
from drlhash_jax.bit_selection.environment import reset, step
from drlhash_jax.retrieval import mean_average_precision

reward_of = jax.jit(subset_reward)
plain_map = jax.jit(mean_average_precision)


def play_random(env, num_selected, seed, take_step):
    """One episode of random legal actions: (actions, time steps, states), those of the start first."""
    rng = np.random.default_rng(seed)
    state, seen = reset(env, num_selected=num_selected)
    actions, seens, states = [], [seen], [state]
    for _ in range(num_selected):
        actions.append(int(rng.choice(np.flatnonzero(seen.action_mask))))
        state, seen = take_step(env, state, jnp.int32(actions[-1]))
        seens.append(seen)
        states.append(state)
    return actions, seens, states


def jitted_step(num_selected):
    return jax.jit(lambda env, state, action: step(env, state, action, num_selected=num_selected))


@pytest.mark.parametrize(("pool_bits", "num_selected"), [(5, 3), (32, 7), (33, 8), (64, 9)])
def test_episode(pool_bits, num_selected, make_data, make_env, reference_map):
    data = make_data(pool_bits, seed=pool_bits)
    env = make_env(data)
    start, seen = reset(env, num_selected=num_selected)
    assert start.selected.shape == (pool_bits,) and not start.selected.any() and start.t == 0
    assert seen.action_mask.all() and seen.reward == 0.0 and not seen.done
    take_step = jitted_step(num_selected)
    for seed in range(2):
        actions, seens, states = play_random(env, num_selected, seed, take_step)
        rewards, dones = [float(seen.reward) for seen in seens], [bool(seen.done) for seen in seens]
        assert len(set(actions)) == num_selected
        assert set(np.flatnonzero(states[-1].selected)) == set(actions)
        assert [int(state.t) for state in states] == list(range(num_selected + 1))
        assert dones == [False] * num_selected + [True]
        assert rewards[:-1] == [0.0] * num_selected
        for t, seen in enumerate(seens):
            assert set(np.flatnonzero(seen.observation)) == set(actions[:t])
            legal = set(range(pool_bits)) - set(actions[:t]) if t < num_selected else set()
            assert set(np.flatnonzero(seen.action_mask)) == legal
        query_codes, database_codes, query_labels, database_labels = data
        columns = sorted(actions)
        chosen = query_codes[:, columns], database_codes[:, columns], query_labels, database_labels
        np.testing.assert_allclose(rewards[-1], reference_map(*chosen), rtol=1e-5)
        np.testing.assert_allclose(rewards[-1], plain_map(*chosen), rtol=1e-5)


def test_steps_after_the_end_change_nothing(small_env):
    take_step = jitted_step(2)
    _, seens, states = play_random(small_env, 2, 0, take_step)
    assert seens[-1].reward > 0
    finished = states[-1]
    for action in range(small_env.pool_bits):
        state, seen = take_step(small_env, finished, jnp.int32(action))
        chex.assert_trees_all_equal(state, finished)
        assert seen.reward == 0.0 and seen.done and not seen.action_mask.any()


def test_selecting_a_bit_twice_changes_nothing(small_env):
    take_step = jitted_step(3)
    start, _ = reset(small_env, num_selected=3)
    once, seen = take_step(small_env, start, jnp.int32(4))
    assert seen.action_mask.tolist() == [True, True, True, True, False, True]
    twice, seen = take_step(small_env, once, jnp.int32(4))
    chex.assert_trees_all_equal(twice, once)
    assert seen.reward == 0.0 and not seen.done
    # The last step cannot be cheated either: the same bit p times is not a finished episode.
    state = start
    for _ in range(5):
        state, seen = take_step(small_env, state, jnp.int32(4))
    assert state.t == 1 and seen.reward == 0.0 and not seen.done


@pytest.mark.parametrize("past_the_end", [0, 1, 1000])
def test_action_outside_the_pool_changes_nothing(past_the_end, small_env):
    start, _ = reset(small_env, num_selected=3)
    after, seen = jitted_step(3)(small_env, start, jnp.int32(small_env.pool_bits + past_the_end))
    chex.assert_trees_all_equal(after, start)
    assert seen.reward == 0.0 and not seen.done


def test_all_bits_give_plain_map(make_data, make_env, reference_map):
    data = make_data(33, seed=1)
    reward = reward_of(make_env(data), jnp.ones(33, bool))
    np.testing.assert_allclose(reward, reference_map(*data), rtol=1e-5)
    np.testing.assert_allclose(reward, plain_map(*data), rtol=1e-5)


def test_no_bit_gives_the_prior(make_data, make_env):
    # Every distance is 0, one block of ties. With 2 relevant of 3 rows, a place is relevant with probability 2/3, and
    # its precision then is 1, (1 + 1/2)/2 = 3/4 or (1 + 1)/3 = 2/3: AP = 2/3 (1 + 3/4 + 2/3)/2 = 29/36.
    codes = np.array([[0, 1], [1, 0], [1, 1]], np.uint8)
    env = make_env((codes[:1], codes, np.array([0]), np.array([0, 0, 1])))
    np.testing.assert_allclose(reward_of(env, jnp.zeros(2, bool)), 29 / 36, rtol=1e-6)


def test_golden_reward(make_data, make_env):
    # Query 11 of class 0. Bit 0 alone: rows 1, 2 (10, 11: relevant, not) tie at distance 0, row 0 (01, relevant) at 1:
    # AP = (1/2 * 1 + 1/2 * (0 + 1 + 0)/2 + (1 + 1)/3) / 2 = (1/2 + 1/4 + 2/3) / 2 = 17/24.
    query = np.array([[1, 1]], np.uint8)
    database = np.array([[0, 1], [1, 0], [1, 1]], np.uint8)
    env = make_env((query, database, np.array([0]), np.array([0, 0, 1])))
    np.testing.assert_allclose(reward_of(env, jnp.array([True, False])), 17 / 24, rtol=1e-6)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_top_k_and_multi_hot(multi_hot, make_data, make_env, reference_map):
    data = make_data(12, seed=5, multi_hot=multi_hot)
    selected = np.arange(12) % 3 == 0
    env = make_env(data, top_k=7)
    expected = reference_map(data[0][:, selected], data[1][:, selected], *data[2:], top_k=7)
    np.testing.assert_allclose(reward_of(env, jnp.asarray(selected)), expected, rtol=1e-5)


def test_queries_without_relevant_rows_do_not_count(make_data, make_env, reference_map):
    query_codes, database_codes, query_labels, database_labels = make_data(8, seed=6)
    query_labels = query_labels.copy()
    query_labels[:2] = 99
    query_labels[2] = -1
    selected = np.arange(8) < 3
    env = make_env((query_codes, database_codes, query_labels, database_labels))
    columns = query_codes[3:, selected], database_codes[:, selected], query_labels[3:], database_labels
    np.testing.assert_allclose(reward_of(env, jnp.asarray(selected)), reference_map(*columns), rtol=1e-5)


def test_mask_of():
    assert mask_of(jnp.array([3, 0], jnp.int32), 5).tolist() == [True, False, False, True, False]


def test_vmap_over_environments(small_env):
    num_selected = 2
    take_step = jitted_step(num_selected)
    actions = np.array([[0, 1], [5, 5], [3, 2], [2, 3]])
    start, _ = reset(small_env, num_selected=num_selected)
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(actions), *x.shape)), start)
    together = jax.jit(jax.vmap(lambda env, s, a: step(env, s, a, num_selected=num_selected), in_axes=(None, 0, 0)))
    for t in range(2):
        states, seen = together(small_env, states, jnp.asarray(actions[:, t], jnp.int32))
    for row, pair in enumerate(actions):
        state = start
        for action in pair:
            state, alone = take_step(small_env, state, jnp.int32(action))
        chex.assert_trees_all_equal(jax.tree.map(lambda x, row=row: x[row], states), state)
        np.testing.assert_allclose(seen.reward[row], alone.reward, rtol=1e-6)
        assert seen.done[row] == alone.done
    # The order of selection does not matter to the reward, and a repeated bit has not finished.
    np.testing.assert_allclose(seen.reward[2], seen.reward[3], rtol=1e-6)
    assert not seen.done[1] and seen.reward[1] == 0.0


def test_one_state_and_many_actions(small_env):
    # What is not batched is shared: here the state, so that all episodes end at once.
    start, _ = reset(small_env, num_selected=1)
    _, seen = jax.vmap(lambda action: step(small_env, start, action, num_selected=1))(jnp.arange(6))
    expected = [reward_of(small_env, jnp.arange(6) == bit) for bit in range(6)]
    np.testing.assert_allclose(seen.reward, expected, rtol=1e-6)


def test_environments_that_differ_are_not_stepped_together(small_env):
    envs = jax.tree.map(lambda x: jnp.stack([x, x]), small_env)
    start, _ = reset(small_env, num_selected=1)
    with pytest.raises(NotImplementedError, match="share their EnvParams"):
        jax.vmap(lambda env: step(env, start, jnp.int32(0), num_selected=1))(envs)


def test_rewards_are_computed_only_where_an_episode_ends(small_env, monkeypatch):
    computed = []

    def counted(params, selected):
        jax.debug.callback(lambda: computed.append(1))
        return subset_reward(params, selected)

    monkeypatch.setattr(environment, "subset_reward", counted)
    start, _ = reset(small_env, num_selected=3)
    states = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, *x.shape)), start)
    together = jax.jit(jax.vmap(lambda s, a: step(small_env, s, a, num_selected=3)))
    for t in range(3):
        states, seen = together(states, jnp.arange(4, dtype=jnp.int32) + t)
        jax.effects_barrier()
        assert len(computed) == (4 if t == 2 else 0)
    assert (seen.reward > 0).all()


def test_step_is_traced_once(small_env):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def take_step(env, state, action):
        return step(env, state, action, num_selected=3)

    state, _ = reset(small_env, num_selected=3)
    for action in (0, 0, 1, 2, 3, 4):
        state, _ = take_step(small_env, state, jnp.int32(action))
    assert take_step._cache_size() == 1
    assert state.selected.tolist() == [True, True, True, False, False, False]
