"""The selectors against plain loops over rewards."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.bit_selection import SELECTORS, SelectorTools, order_reward, select_ppo
from drlhash_jax.bit_selection.selectors import (
    select_best_of_random,
    select_by_entropy,
    select_first,
    select_greedy,
    select_random,
)
from drlhash_jax.codes import bit_entropy


@pytest.fixture(scope="module")
def tools(small_settings):
    """20 updates of 4 environments: best_of_random draws 80."""
    return SelectorTools(small_settings)


def test_records():
    # The order of the rows of a result; what each needs.
    assert list(SELECTORS) == ["ppo", "greedy", "entropy", "random", "first", "best_of_random"]
    assert [name for name, each in SELECTORS.items() if each.has_draws] == ["random"]
    assert [name for name, each in SELECTORS.items() if each.needs_reward] == ["ppo", "greedy", "best_of_random"]
    assert [name for name, each in SELECTORS.items() if each.num_steps] == ["ppo"]
    assert len({each.label for each in SELECTORS.values()}) == len(SELECTORS)


def all_rewards(env, num_selected):
    """Subset -> reward for every subset of that size."""
    subsets = itertools.combinations(range(env.pool_bits), num_selected)
    return {subset: float(order_reward(env, jnp.array(subset, jnp.int32))) for subset in subsets}


@pytest.mark.parametrize("num_selected", [1, 3, 6])
@pytest.mark.parametrize("name", [name for name in SELECTORS if name != "ppo"])
def test_every_selector_returns_distinct_bits_and_their_reward(name, num_selected, tools, small_env):
    selection = SELECTORS[name].select(jax.random.key(5), small_env, num_selected, tools)
    check_selection(selection, small_env, num_selected)
    cost = {"greedy": sum(6 - t for t in range(num_selected)), "best_of_random": 80}
    assert selection.num_evaluations == cost.get(name, 1)


@pytest.mark.parametrize("num_selected", [3, 6])
def test_ppo_returns_distinct_bits_and_their_reward(num_selected, tools, small_env):
    steps = []
    selection = SELECTORS["ppo"].select(
        jax.random.key(5), small_env, num_selected, tools._replace(on_call=lambda done, metrics: steps.append(done))
    )
    check_selection(selection, small_env, num_selected)
    assert steps[-1] == SELECTORS["ppo"].num_steps(tools.settings)


def check_selection(selection, env, num_selected):
    order = np.asarray(selection.order)
    assert order.shape == (num_selected,) and order.dtype == np.int32
    assert len(set(order.tolist())) == num_selected
    assert set(order.tolist()) <= set(range(env.pool_bits))
    np.testing.assert_allclose(selection.reward, order_reward(env, order), rtol=1e-6)
    if num_selected == env.pool_bits:
        np.testing.assert_allclose(selection.reward, order_reward(env, jnp.arange(num_selected)), rtol=1e-6)


def test_order_reward(make_data, make_env, reference_map):
    data = make_data(9, seed=8)
    order = np.array([7, 0, 4])
    expected = reference_map(data[0][:, order], data[1][:, order], *data[2:])
    np.testing.assert_allclose(order_reward(make_env(data), jnp.asarray(order)), expected, rtol=1e-5)


def test_first(small_env):
    selection = select_first(None, small_env, 4)
    assert selection.order.tolist() == [0, 1, 2, 3] and selection.num_evaluations == 1


def test_greedy_against_loops(small_env):
    num_selected = 4
    order, num_evaluations = [], 0
    for _ in range(num_selected):
        rewards = {}
        for bit in range(small_env.pool_bits):
            if bit not in order:
                rewards[bit] = float(order_reward(small_env, jnp.array([*order, bit], jnp.int32)))
                num_evaluations += 1
        top_two = sorted(rewards.values())[-2:]
        assert top_two[1] - top_two[0] > 1e-5  # the data have no tie that rounding could turn
        order.append(max(rewards, key=rewards.get))
    selection = select_greedy(None, small_env, num_selected)
    assert selection.order.tolist() == order
    np.testing.assert_allclose(selection.reward, rewards[order[-1]], rtol=1e-6)
    assert selection.num_evaluations == num_evaluations == 6 + 5 + 4 + 3


def test_greedy_takes_a_bit_that_lowers_the_reward(make_env):
    # Bits 0 and 1 are the class, bit 2 is random: p = 3 still has to take it, last.
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 4
    codes = np.stack([labels & 1, labels >> 1, rng.integers(0, 2, 32)], axis=1).astype(np.uint8)
    env = make_env((codes[:12], codes[12:], labels[:12], labels[12:]))
    assert order_reward(env, jnp.array([0, 1])) == 1.0 > order_reward(env, jnp.arange(3))
    assert select_greedy(None, env, 3).order[-1] == 2


def test_entropy_over_merged_rows(make_env):
    # Bit j of 80 rows is one in the first c_j rows, all c_j different and below 40: rows 35 to 79 are equal and merged.
    pool_bits, num_rows = 35, 80
    ones = np.random.default_rng(0).permutation(np.arange(1, pool_bits + 1))
    codes = (np.arange(num_rows)[:, None] < ones[None, :]).astype(np.uint8)
    labels = np.zeros(num_rows, np.int32)
    env = make_env((codes[:4], codes, labels[:4], labels))
    assert env.database.weights.max() == num_rows - pool_bits
    share = ones / num_rows
    expected = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    selection = select_by_entropy(None, env, 10)
    assert (
        selection.order.tolist() == np.argsort(-expected)[:10].tolist() == np.argsort(-bit_entropy(codes))[:10].tolist()
    )
    assert selection.num_evaluations == 1


def test_entropy_of_constant_and_balanced_bits(make_env):
    codes = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 1]], np.uint8)
    env = make_env((codes, codes, np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1])))
    # Entropies 0, 0 and 1; of equal ones the earlier bit first.
    assert select_by_entropy(None, env, 3).order.tolist() == [2, 0, 1]


@pytest.mark.parametrize("num_rows", [200, 4000])
def test_bits_with_exchanged_counts_have_one_entropy(num_rows, make_env):
    # c ones or c zeros are equally informative, which rounded entropies do not always say: the earlier bit first.
    ones = num_rows // 2 - np.repeat(np.arange(1, 21), 2)
    ones[::4], ones[3::4] = num_rows - ones[::4], num_rows - ones[3::4]
    codes = (np.arange(num_rows)[:, None] < ones).astype(np.uint8)
    env = make_env((codes[:2], codes, np.zeros(2, int), np.zeros(num_rows, int)))
    assert select_by_entropy(None, env, 40).order.tolist() == list(range(40))


def test_entropy_does_not_look_at_the_queries(make_env):
    database = np.array([[0, 0], [1, 0], [0, 0], [1, 1]], np.uint8)
    queries = np.array([[0, 0], [0, 1]], np.uint8)
    env = make_env((queries, database, np.array([0, 1]), np.array([0, 1, 0, 1])))
    # Shares of ones 2/4 and 1/4 of the database; of the queries 0 and 1/2.
    assert select_by_entropy(None, env, 2).order.tolist() == [0, 1]


def test_random_is_uniform(small_env):
    num_draws = 300
    draws = [tuple(np.asarray(select_random(jax.random.key(i), small_env, 2).order)) for i in range(num_draws)]
    # Ordered pairs are 30 kinds: about 10 each, and none of 30 is likely to be missing.
    assert len(set(draws)) >= 27
    # A bit is drawn with probability 1/3: 100 times, standard deviation sqrt(300 * 2/9) = 8.2.
    counts = np.bincount(np.ravel(draws), minlength=6)
    assert (np.abs(counts - 100) < 41).all()
    again = select_random(jax.random.key(0), small_env, 2)
    assert tuple(np.asarray(again.order)) == draws[0] and again.num_evaluations == 1


def test_best_of_random_is_the_best_of_its_draws(small_env):
    num_draws = 6
    for seed in range(3):
        key = jax.random.key(seed)
        rewards = [float(select_random(each, small_env, 3).reward) for each in jax.random.split(key, num_draws)]
        selection = select_best_of_random(key, small_env, 3, num_draws)
        np.testing.assert_allclose(selection.reward, max(rewards), rtol=1e-6)
        assert selection.reward >= rewards[0] and selection.num_evaluations == num_draws


def test_best_of_very_many_is_the_best_of_all(small_env):
    rewards = all_rewards(small_env, 3)
    best = max(rewards, key=rewards.get)
    # 200 draws of 20 subsets miss the best with probability (19/20)^200 = 4e-5.
    selection = select_best_of_random(jax.random.key(0), small_env, 3, 200)
    assert tuple(sorted(np.asarray(selection.order).tolist())) == best
    np.testing.assert_allclose(selection.reward, rewards[best], rtol=1e-6)


def test_ppo_counts_its_rewards_and_reports(small_env, small_settings):
    calls = []
    assert small_settings.num_updates == 20 and small_settings.num_envs == 4
    on_call = lambda done, metrics: calls.append((done, np.asarray(metrics.best_reward)))
    selection = select_ppo(jax.random.key(0), small_env, 3, small_settings, on_call=on_call)
    # 20 updates are two calls of 10; an update pays 4 episodes and the most probable one.
    assert [done for done, _ in calls] == [10, 20]
    assert selection.num_evaluations == 20 * (4 + 1)
    assert all(best.shape == (10,) for _, best in calls)
    assert selection.reward == calls[-1][1][-1]
    rewards = all_rewards(small_env, 3)
    assert min(rewards.values()) <= selection.reward <= max(rewards.values()) * (1 + 1e-6)


def test_ppo_is_reproducible(small_settings, small_env):
    first, again = (select_ppo(jax.random.key(11), small_env, 3, small_settings) for _ in range(2))
    assert first.order.tolist() == again.order.tolist() and first.reward == again.reward
