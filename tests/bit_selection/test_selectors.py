"""The selectors against plain loops over rewards."""

import itertools
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.bit_selection import (
    SELECTORS,
    USUAL_SELECTORS,
    EnvParams,
    PPOSettings,
    SelectorTools,
    filters,
    order_reward,
    searches,
)
from drlhash_jax.bit_selection.learning import round_sizes, select_by_population, select_ppo
from drlhash_jax.bit_selection.ppo import has_stalled
from drlhash_jax.bit_selection.selectors import select_first, select_greedy, select_random
from drlhash_jax.codes import bit_entropy, pack_in_order


@pytest.fixture(scope="module")
def tools(small_settings):
    """20 updates of 4 environments: best_of_random draws 80, cross-entropy 5 times 16."""
    return SelectorTools(small_settings, searches.SearchSettings(beam_width=3, draws=16))


def test_records():
    learning = ["ppo", "ppo_swaps", "ppo_nested", "population", "reinforce"]
    searching = ["greedy", "greedy_swaps", "beam", "annealing", "cross_entropy"]
    blind = ["ndomset", "mutual_information", "entropy", "random", "first"]
    # The order of the rows of a result; what each needs.
    assert list(SELECTORS) == [*learning, *searching, *blind, "best_of_random"]
    assert set(USUAL_SELECTORS) <= set(SELECTORS)
    assert [name for name, each in SELECTORS.items() if each.has_draws] == ["random"]
    assert [name for name, each in SELECTORS.items() if not each.needs_reward] == blind
    assert [name for name, each in SELECTORS.items() if each.num_steps] == learning
    assert [name for name, each in SELECTORS.items() if each.nested] == ["ppo_nested"]
    assert len({each.label for each in SELECTORS.values()}) == len(SELECTORS)


def all_rewards(env, num_selected):
    """Subset -> reward for every subset of that size."""
    subsets = itertools.combinations(range(env.pool_bits), num_selected)
    return {subset: float(order_reward(env, jnp.array(subset, jnp.int32))) for subset in subsets}


@pytest.mark.parametrize("num_selected", [1, 3, 6])
@pytest.mark.parametrize("name", [name for name, each in SELECTORS.items() if not each.num_steps])
def test_every_selector_returns_distinct_bits_and_their_reward(name, num_selected, tools, small_env):
    selection = SELECTORS[name].select(jax.random.key(5), small_env, num_selected, tools)
    check_selection(selection, small_env, num_selected)
    cost = {"greedy": sum(6 - t for t in range(num_selected)), "best_of_random": 80, "annealing": 96}
    cost |= {"cross_entropy": 80}
    if name not in ("beam", "greedy_swaps"):
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
    selection = select_first(None, small_env, 4, None)
    assert selection.order.tolist() == [0, 1, 2, 3] and selection.num_evaluations == 1


def test_greedy_against_loops(small_env, tools):
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
    selection = select_greedy(None, small_env, num_selected, tools)
    assert selection.order.tolist() == order
    np.testing.assert_allclose(selection.reward, rewards[order[-1]], rtol=1e-6)
    assert selection.num_evaluations == num_evaluations == 6 + 5 + 4 + 3


def test_greedy_takes_a_bit_that_lowers_the_reward(make_env, tools):
    # Bits 0 and 1 are the class, bit 2 is random: p = 3 still has to take it, last.
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 4
    codes = np.stack([labels & 1, labels >> 1, rng.integers(0, 2, 32)], axis=1).astype(np.uint8)
    env = make_env((codes[:12], codes[12:], labels[:12], labels[12:]))
    assert order_reward(env, jnp.array([0, 1])) == 1.0 > order_reward(env, jnp.arange(3))
    assert select_greedy(None, env, 3, tools).order[-1] == 2


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
    order = filters.by_entropy(env, 10).tolist()
    assert order == np.argsort(-expected)[:10].tolist() == np.argsort(-bit_entropy(codes))[:10].tolist()


def test_entropy_of_constant_and_balanced_bits(make_env):
    codes = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 0], [0, 1, 1]], np.uint8)
    env = make_env((codes, codes, np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1])))
    # Entropies 0, 0 and 1; of equal ones the earlier bit first.
    assert filters.by_entropy(env, 3).tolist() == [2, 0, 1]


@pytest.mark.parametrize("num_rows", [200, 4000])
def test_bits_with_exchanged_counts_have_one_entropy(num_rows, make_env):
    # c ones or c zeros are equally informative, which rounded entropies do not always say: the earlier bit first.
    ones = num_rows // 2 - np.repeat(np.arange(1, 21), 2)
    ones[::4], ones[3::4] = num_rows - ones[::4], num_rows - ones[3::4]
    codes = (np.arange(num_rows)[:, None] < ones).astype(np.uint8)
    env = make_env((codes[:2], codes, np.zeros(2, int), np.zeros(num_rows, int)))
    assert filters.by_entropy(env, 40).tolist() == list(range(40))


def test_entropy_does_not_look_at_the_queries(make_env):
    database = np.array([[0, 0], [1, 0], [0, 0], [1, 1]], np.uint8)
    queries = np.array([[0, 0], [0, 1]], np.uint8)
    env = make_env((queries, database, np.array([0, 1]), np.array([0, 1, 0, 1])))
    # Shares of ones 2/4 and 1/4 of the database; of the queries 0 and 1/2.
    assert filters.by_entropy(env, 2).tolist() == [0, 1]


def test_random_is_uniform(small_env):
    num_draws = 300
    draws = [tuple(np.asarray(select_random(jax.random.key(i), small_env, 2, None).order)) for i in range(num_draws)]
    # Ordered pairs are 30 kinds: about 10 each, and none of 30 is likely to be missing.
    assert len(set(draws)) >= 27
    # A bit is drawn with probability 1/3: 100 times, standard deviation sqrt(300 * 2/9) = 8.2.
    counts = np.bincount(np.ravel(draws), minlength=6)
    assert (np.abs(counts - 100) < 41).all()
    again = select_random(jax.random.key(0), small_env, 2, None)
    assert tuple(np.asarray(again.order)) == draws[0] and again.num_evaluations == 1


def best_of_random(key, env, num_selected, num_draws):
    return searches.run(searches.best_of_random, key, env, None, num_selected=num_selected, num_draws=num_draws)


def test_best_of_random_is_the_best_of_its_draws(small_env):
    num_draws = 6
    for seed in range(3):
        key = jax.random.key(seed)
        rewards = [float(select_random(each, small_env, 3, None).reward) for each in jax.random.split(key, num_draws)]
        selection = best_of_random(key, small_env, 3, num_draws)
        np.testing.assert_allclose(selection.reward, max(rewards), rtol=1e-6)
        assert selection.reward >= rewards[0] and selection.num_evaluations == num_draws


def test_best_of_very_many_is_the_best_of_all(small_env):
    rewards = all_rewards(small_env, 3)
    best = max(rewards, key=rewards.get)
    # 200 draws of 20 subsets miss the best with probability (19/20)^200 = 4e-5.
    selection = best_of_random(jax.random.key(0), small_env, 3, 200)
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
    assert first.found_by == again.found_by


def test_ppo_says_how_it_found_its_set(small_env, small_settings):
    found_by = select_ppo(jax.random.key(0), small_env, 3, small_settings).found_by
    assert re.fullmatch(r".*best set seen[:,] (sampled|most probable) set of update \d+ of 20", found_by)


def test_learning_has_stalled_where_rewards_are_those_of_the_start():
    # 16 episodes of deviation .08: two standard errors are .04, above the first mean of .1 + .4.
    state = lambda last: SimpleNamespace(reward_mean=jnp.array([0.1, 0.4]), reward_std=0.08, last_mean=last)
    settings = PPOSettings(num_envs=16)
    assert has_stalled(state(0.539), settings) and not has_stalled(state(0.541), settings)


def test_population(small_env, small_settings):
    settings, calls = small_settings.replace(population=5, num_updates=4), []
    assert round_sizes(5) == [5, 1] and round_sizes(16) == [16, 4, 1] and round_sizes(1) == [1]
    on_call = lambda done, metrics: calls.append((done, metrics.best_reward))
    selection = select_by_population(jax.random.key(0), small_env, 3, settings, on_call=on_call)
    check_selection(selection, small_env, 3)
    assert [done for done, _ in calls] == [2, 4] and all(best.shape == (2,) for _, best in calls)
    # Two updates of five members and two of one, with 4 episodes and the most probable one each.
    assert selection.num_evaluations == (5 * 2 + 2) * (4 + 1)
    assert selection.reward >= max(best.max() for _, best in calls) * (1 - 1e-6)
    again = select_by_population(jax.random.key(0), small_env, 3, settings)
    assert again.order.tolist() == selection.order.tolist() and again.reward == selection.reward


def test_a_nested_order_is_paid_at_every_length(small_env, small_settings):
    lengths = (2, 3, 5)
    env = small_env.replace(lengths=lengths)
    selection = SELECTORS["ppo_nested"].select(jax.random.key(0), env, 5, SelectorTools(small_settings))
    rewards = [float(order_reward(small_env, selection.order[:length])) for length in lengths]
    np.testing.assert_allclose(selection.reward, np.mean(rewards), rtol=1e-5)
    assert selection.num_evaluations == 20 * (4 + 1) * 3
    # Its mean over the lengths is no worse than that of the best of as many random orders, one seed.
    orders = [jax.random.permutation(jax.random.key(i), 6)[:5] for i in range(20)]
    drawn = [np.mean([float(order_reward(small_env, order[:length])) for length in lengths]) for order in orders]
    assert selection.reward > np.mean(drawn)


def test_beam_of_one_is_greedy_and_wider_ones_against_loops(small_env, tools):
    beam = lambda width: searches.run(searches.beam, jax.random.key(0), small_env, None, num_selected=3, width=width)
    assert beam(1).order.tolist() == select_greedy(None, small_env, 3, tools).order.tolist()
    assert beam(1).num_evaluations == 6 + 5 + 4
    kept, evaluations = {(): ()}, 0
    for _ in range(3):
        found = {}
        for order in kept.values():
            for bit in set(range(6)) - set(order):
                evaluations += 1
                found.setdefault(tuple(sorted((*order, bit))), (*order, bit))
        reward = lambda subset: float(order_reward(small_env, jnp.array(subset, jnp.int32)))
        kept = {subset: found[subset] for subset in sorted(found, key=reward)[-3:]}
    selection = beam(3)
    assert tuple(sorted(selection.order.tolist())) == list(kept)[-1]
    assert selection.num_evaluations == evaluations


def test_swaps_end_where_no_exchange_helps(small_env):
    rewards = all_rewards(small_env, 3)
    for seed in range(3):
        start = jax.random.permutation(jax.random.key(seed), 6)[:3].astype(jnp.int32)
        found = searches.run(searches.swaps, jax.random.key(0), small_env, None, start, num_rounds=20)
        check_selection(found, small_env, 3)
        chosen = set(found.order.tolist())
        neighbours = [tuple(sorted(chosen - {a} | {b})) for a in chosen for b in set(range(6)) - chosen]
        assert float(found.reward) >= max(rewards[subset] for subset in neighbours) * (1 - 1e-6)
        assert (found.num_evaluations - 1) % (3 * 4) == 0


@pytest.mark.parametrize("name", ["annealing", "cross_entropy", "greedy_swaps"])
def test_searches_find_the_best_of_a_small_pool(name, tools, small_env):
    rewards = all_rewards(small_env, 3)
    found = SELECTORS[name].select(jax.random.key(1), small_env, 3, tools)
    np.testing.assert_allclose(found.reward, max(rewards.values()), rtol=1e-6)


def test_mutual_information_against_counts(make_env):
    # Bit 0 is the class, bit 1 the same, bit 2 half of it, bit 3 constant. I(0; label) = ln 2 for each of two labels.
    labels = np.array([0, 0, 1, 1])
    codes = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], np.uint8)
    env = make_env((codes, codes, labels, labels))
    bits, hot, weights = filters._rows(env)
    found = filters._pairwise_information(bits, hot, weights)
    # I(2; label) = H(2) - H(2|label) = H(1/4) - 1/2 ln 2 = .5623 - .3466.
    expected = [np.log(2), np.log(2), 0.5623351 - 0.3465736, 0.0]
    np.testing.assert_allclose(found, np.stack([expected, expected], axis=1), atol=1e-6)
    # After bit 0: bit 1 has 2 ln 2 - ln 2 = .693, bit 2 has 2 * .2158 - .2158 = .216, the constant one 0.
    assert filters.by_mutual_information(env, 4).tolist() == [0, 1, 2, 3]


def test_dominant_sets_take_what_is_informative_first(make_env):
    # Four bits spell the class with little noise, four are noise: rows of one class agree on the former alone.
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 16
    spelled = (labels[:, None] >> np.arange(4) & 1) ^ (rng.random((240, 4)) < 0.02)
    codes = np.concatenate([rng.integers(0, 2, (240, 4)), spelled], axis=1).astype(np.uint8)
    env = make_env((codes[:16], codes[16:], labels[:16], labels[16:]))
    dominant = filters._dominant_set(np.array([[0.0, 1.0, 0.1], [1.0, 0.0, 0.1], [0.1, 0.1, 0.0]]))
    # The pair that supports itself takes all.
    np.testing.assert_allclose(dominant, [0.5, 0.5, 0.0], atol=1e-6)
    order = filters.by_dominant_sets(jax.random.key(0), env, 8)
    assert sorted(order.tolist()) == list(range(8))


def degenerate_pools():
    """Name -> (codes of queries, of the database, labels of both, weights of the queries)."""
    rng = np.random.default_rng(1)
    labels, each = np.arange(24) % 3, np.ones(6, np.int32)
    varied = rng.integers(0, 2, (30, 5)).astype(np.uint8)
    equal, constant = np.repeat(varied[:, :1], 5, axis=1), np.ones((30, 5), np.uint8)
    return {
        "all bits equal": (equal[:6], equal[6:], labels[:6], labels, each),
        "constant bits": (constant[:6], constant[6:], labels[:6], labels, each),
        "one query": (varied[:6], varied[6:], labels[:6], labels, np.array([1, 0, 0, 0, 0, 0], np.int32)),
        "one relevant row": (varied[:6], varied[6:], np.zeros(6, int), np.where(np.arange(24) == 5, 0, 1), each),
    }


@pytest.mark.parametrize("num_selected", [1, 4])
def test_degenerate_pools(num_selected, tools):
    cheap = tools._replace(settings=tools.settings.replace(num_updates=2))
    for query_codes, database_codes, query_labels, database_labels, weights in degenerate_pools().values():
        # Of one shape, so that one program does for all.
        query = pack_in_order(query_codes, query_labels)._replace(weights=weights)
        env = jax.device_put(EnvParams(query, pack_in_order(database_codes, database_labels), 5))
        for name, selector in SELECTORS.items():
            if not selector.num_steps or name == "ppo_swaps":
                check_selection(selector.select(jax.random.key(0), env, num_selected, cheap), env, num_selected)
