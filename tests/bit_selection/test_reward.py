"""The reward's settings, and the rows that it is drawn from."""

import jax
import numpy as np
import pytest

from drlhash_jax.bit_selection import RewardSettings, make_reward, order_reward, reward_noise
from drlhash_jax.errors import UserError


def pool(num_rows=40, pool_bits=5):
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (num_rows, pool_bits)).astype(np.uint8), np.arange(num_rows) % 3


@pytest.mark.parametrize(("num_database", "top_k"), [(None, None), (11, 4)])
def test_queries_and_database_are_different_rows(num_database, top_k, reference_map):
    codes, labels = pool()
    settings = RewardSettings(num_queries=12, num_database=num_database)
    env = make_reward(jax.random.key(3), codes, labels, settings, top_k=top_k)
    order = np.asarray(jax.random.permutation(jax.random.key(3), 40))
    query, database = order[:12], order[12:][:num_database]
    assert env.query.weights.sum() == 12 and env.database.weights.sum() == (num_database or 28)
    assert env.pool_bits == 5 and env.top_k == top_k
    bits = np.array([4, 1])
    expected = reference_map(codes[query][:, bits], codes[database][:, bits], labels[query], labels[database], top_k)
    np.testing.assert_allclose(order_reward(env, bits), expected, rtol=1e-5)


def test_too_many_queries_are_refused():
    codes, labels = pool()
    for num_queries in (40, 41):
        with pytest.raises(UserError, match=f"reward.num_queries={num_queries}: the reward has 40 training rows"):
            make_reward(jax.random.key(0), codes, labels, RewardSettings(num_queries=num_queries))


def test_half_of_few_held_out_rows_become_queries():
    codes, labels = pool()
    for num_queries, expected in ((30, 20), (7, 7)):
        settings = RewardSettings(num_queries=num_queries)
        env = make_reward(jax.random.key(0), codes, labels, settings, held_out=True)
        assert (env.query.weights.sum(), env.database.weights.sum()) == (expected, 40 - expected)
    with pytest.raises(UserError, match="has 1 training rows.*or raise reward.holdout"):
        make_reward(jax.random.key(0), codes[:1], labels[:1], RewardSettings(), held_out=True)


def test_labels_that_nobody_shares_are_refused():
    codes, _ = pool()
    with pytest.raises(
        UserError, match="reward.num_queries=5: none of the 5 training rows that act as queries shares a label"
    ):
        make_reward(jax.random.key(0), codes, np.arange(40), RewardSettings(num_queries=5))


def test_auto_follows_the_method():
    choose = lambda codes, shared, fits=True: RewardSettings(codes=codes).choose_codes(
        "lsh", shared_bits=shared, fits_rows=fits
    )
    assert choose("auto", True) == "crossfit" and choose("auto", False) == "holdout"
    # Where nothing is trained, no row is one that was seen.
    assert choose("auto", False, fits=False) == "fitted"
    for shared in (True, False):
        for codes in ("holdout", "fitted"):
            assert choose(codes, shared) == codes
    assert choose("crossfit", True) == "crossfit"
    with pytest.raises(UserError, match="reward.codes=crossfit: a bit of method=lsh .* choose holdout, or fitted"):
        choose("crossfit", False)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**20, -1, "many", True, None])
@pytest.mark.parametrize("name", ["codes", "num_folds", "holdout", "num_queries"])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=f"reward.{name}="):
        RewardSettings.from_config({name: value}, "reward.")


def test_zero_database_rows_mean_all():
    assert RewardSettings.config_defaults()["num_database"] == 0
    assert RewardSettings.from_config({"num_database": 0}).num_database is None
    for value in (-1, 10**20, 2.5):
        with pytest.raises(UserError, match="reward.num_database="):
            RewardSettings.from_config({"num_database": value}, "reward.")


def test_noise_of_a_reward(make_data, make_env):
    query_codes, database_codes, query_labels, database_labels = make_data(9, seed=8, num_query=30)
    env = make_env((query_codes, database_codes, query_labels, database_labels))
    values = []
    for order in ([7, 0, 4], [1, 2, 3]):
        # The mean over one query alone is its average precision.
        each = [
            float(
                order_reward(
                    make_env((query_codes[[q]], database_codes, query_labels[[q]], database_labels)), np.array(order)
                )
            )
            for q in range(30)
        ]
        values.append(np.array(each))
    difference = values[0] - values[1]
    noise = reward_noise(env, np.array([7, 0, 4]), np.array([1, 2, 3]))
    half = 1.96 * difference.std(ddof=1) / np.sqrt(30)
    expected = (
        values[0].std(ddof=1) / np.sqrt(30),
        difference.mean(),
        difference.mean() - half,
        difference.mean() + half,
    )
    np.testing.assert_allclose(noise, expected, rtol=1e-4, atol=1e-6)
    assert reward_noise(env, np.array([1]), np.array([1]))[1:] == (0.0, 0.0, 0.0)
