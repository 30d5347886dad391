"""Small environments and a mean average precision in plain loops, shared by the tests of bit selection."""

import jax
import numpy as np
import pytest

from drlhash_jax.bit_selection import EnvParams, PPOSettings
from drlhash_jax.bit_selection.actor_critic import ActorCritic
from drlhash_jax.codes import pack_distinct


def _relevant(query_label, database_labels):
    if database_labels.ndim == 1:
        return np.array([query_label >= 0 and label == query_label for label in database_labels])
    return np.array([bool(np.any((query_label == 1) & (row == 1))) for row in database_labels])


def _expected_average_precision(distance, relevant, top_k):
    """Average precision in expectation over random orders of equal distances, position by position."""
    num_ranks = len(distance) if top_k is None else min(top_k, len(distance))
    total, rank, found = 0.0, 0, 0
    for value in sorted(set(distance.tolist())):
        tied = distance == value
        n, r = int(tied.sum()), int(relevant[tied].sum())
        for place in range(1, n + 1):
            rank += 1
            if rank > num_ranks:
                break
            # With probability r/n the row here is relevant; each of the place - 1 rows before it in the block then is
            # with probability (r - 1)/(n - 1).
            before = (place - 1) * (r - 1) / (n - 1) if n > 1 else 0.0
            total += r / n * (found + 1 + before) / rank
        found += r
    return total / min(int(relevant.sum()), num_ranks)


def _reference_map(query_codes, database_codes, query_labels, database_labels, top_k=None):
    values = []
    for code, label in zip(query_codes, query_labels):
        relevant = _relevant(label, database_labels)
        if relevant.any():
            distance = np.array([np.sum(code != row) for row in database_codes])
            values.append(_expected_average_precision(distance, relevant, top_k))
    return float(np.mean(values))


@pytest.fixture(scope="session")
def reference_map():
    """Function of (query codes, database codes, query labels, database labels, top_k) -> mAP, in plain loops."""
    return _reference_map


def _make_data(pool_bits, seed=0, num_query=12, num_database=40, num_classes=3, multi_hot=False):
    rng = np.random.default_rng(seed)
    prototypes = rng.integers(0, 2, (num_classes, pool_bits))
    parts = []
    for num_rows in (num_query, num_database):
        labels = rng.integers(0, num_classes, num_rows)
        # Each bit has its own noise, so that bits differ in how much they tell.
        noise = rng.random((num_rows, pool_bits)) < np.linspace(0.05, 0.5, pool_bits)
        codes = (prototypes[labels] ^ noise).astype(np.uint8)
        if multi_hot:
            labels = (np.eye(num_classes)[labels] + (rng.random((num_rows, num_classes)) < 0.2) > 0).astype(np.uint8)
        parts.append((codes, labels))
    (query_codes, query_labels), (database_codes, database_labels) = parts
    return query_codes, database_codes, query_labels, database_labels


@pytest.fixture(scope="session")
def make_data():
    """Function of (pool_bits, seed, ...) -> (query codes, database codes, query labels, database labels)."""
    return _make_data


def _make_env(data, top_k=None):
    query_codes, database_codes, query_labels, database_labels = data
    env = EnvParams(
        query=pack_distinct(query_codes, query_labels),
        database=pack_distinct(database_codes, database_labels),
        pool_bits=query_codes.shape[1],
        top_k=top_k,
    )
    return jax.device_put(env)


@pytest.fixture(scope="session")
def make_env():
    """Function of (data, top_k) -> EnvParams with equal rows merged."""
    return _make_env


@pytest.fixture(scope="session")
def small_env():
    """A pool of 6 bits, shared so that programs over it are compiled once."""
    return _make_env(_make_data(6, seed=3))


@pytest.fixture(scope="session")
def small_settings():
    """Settings that run in a moment and never stop early; tests that share them share their compiled programs."""
    return PPOSettings(num_updates=20, num_envs=4, num_epochs=2, num_minibatches=2, learning_rate=1e-3, target_kl=1e9)


@pytest.fixture(scope="session")
def small_network(small_settings):
    """The actor-critic over 6 bits."""
    return ActorCritic(6, small_settings.hidden)


@pytest.fixture(scope="session")
def small_params(small_network):
    """Initial parameters of `small_network`."""
    return small_network.init(jax.random.key(0), np.zeros(6, bool))["params"]
