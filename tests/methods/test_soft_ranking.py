"""Soft average precision: against a loop, exact where no two rows tie, and its gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_step import numeric_gradient

from drlhash_jax.methods.soft_ranking import soft_average_precision


def by_loop(query, database, weights, relevance):
    """AP of each query, one row and one bin at a time, in float64."""
    num_bits, found = query.shape[1], np.zeros(len(query))
    for i, h in enumerate(query):
        before_rows = before_relevant = total = 0.0
        for b in range(num_bits + 1):
            c = r = 0.0
            for j, g in enumerate(database):
                inside = max(0.0, 1 - abs((num_bits - h @ g) / 2 - b)) * weights[i, j]
                c, r = c + inside, r + inside * relevance[i, j]
            found[i] += r * (before_relevant + r / 2 + 0.5) / (before_rows + c / 2 + 0.5)
            before_rows, before_relevant, total = before_rows + c, before_relevant + r, total + r
        found[i] /= max(total, 1e-6)
    return found


def toy(num_bits=5):
    rng = np.random.default_rng(0)
    query, database = (np.tanh(2 * rng.normal(size=(rows, num_bits))) for rows in (3, 7))
    weights = np.ones((3, 7))
    weights[1, 2] = weights[2, :2] = 0.0
    return query, database, weights, rng.random((3, 7))


def count_of(relevance):
    return lambda inside: jnp.sum(inside * relevance, axis=1, keepdims=True)


def test_it_is_the_loop():
    query, database, weights, relevance = toy()
    found = soft_average_precision(*(jnp.float32(x) for x in (query, database, weights)), count_of(relevance))
    np.testing.assert_allclose(found[:, 0], by_loop(query, database, weights, relevance), rtol=2e-5)


def test_hypotheses_are_separate():
    query, database, weights, _ = (jnp.float32(x) for x in toy())
    chances = jnp.float32(np.random.default_rng(1).dirichlet(np.ones(4), size=7))
    found = soft_average_precision(query, database, weights, lambda inside: inside @ chances)
    assert found.shape == (3, 4)
    for h in range(4):
        alone = soft_average_precision(query, database, weights, count_of(chances[:, h][None, :]))
        np.testing.assert_allclose(found[:, h], alone[:, 0], rtol=1e-5)


def test_without_ties_it_is_average_precision():
    # Codes of 6 bits at distances 0 to 6 from the query; relevant at ranks 1, 3 and 6.
    query = np.ones((1, 6))
    database = np.array([[-1.0] * flipped + [1.0] * (6 - flipped) for flipped in range(7)])
    relevance = np.zeros((1, 7))
    relevance[0, [0, 2, 5]] = 1.0
    found = soft_average_precision(*(jnp.float32(x) for x in (query, database, np.ones((1, 7)))), count_of(relevance))
    assert float(found[0, 0]) == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3, rel=1e-6)


def test_gradient_is_that_of_the_loop():
    query, database, weights, relevance = toy(3)
    given = jnp.float32(weights), count_of(relevance)
    slopes = jax.grad(lambda q, d: jnp.sum(soft_average_precision(q, d, *given)), argnums=(0, 1))(
        jnp.float32(query), jnp.float32(database)
    )
    for place, found in enumerate(slopes):

        def value(x, place=place):
            sides = [query, database]
            sides[place] = x
            return by_loop(*sides, weights, relevance).sum()

        np.testing.assert_allclose(found, numeric_gradient(value, (query, database)[place].copy()), atol=2e-4)


def test_nothing_relevant_is_zero():
    query, database, weights, _ = (jnp.float32(x) for x in toy())
    found = soft_average_precision(query, database, weights, count_of(jnp.zeros((3, 7))))
    np.testing.assert_array_equal(found, 0)
    assert all(np.isfinite(x).all() for x in itertools.chain(found))
