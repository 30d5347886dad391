"""Tests of what the evaluators are given: one meaning of every form, the same inside and outside of a program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax import retrieval
from drlhash_jax.errors import UserError
from drlhash_jax.retrieval.arguments import accept

RANKS = np.array([1, 5])
# Every public function of codes and labels.
FUNCTIONS = {
    "evaluate": retrieval.evaluate,
    "stable_map": retrieval.stable_map,
    "evaluate_queries": functools.partial(retrieval.evaluate_queries, ranks=(1, 5)),
    "stable_queries": retrieval.stable_queries,
    "reproduce_map": functools.partial(retrieval.reproduce_map, reproduce="adsh"),
    "mean_average_precision": retrieval.mean_average_precision,
    "stable": functools.partial(retrieval.mean_average_precision, ties="stable"),
    "precision_at_n": lambda *data: retrieval.precision_at_n(*data, RANKS),
    "recall_at_n": lambda *data: retrieval.recall_at_n(*data, RANKS),
    "precision_recall_by_rank": lambda *data: retrieval.precision_recall_by_rank(*data, RANKS),
    "precision_at_recall_levels": lambda *data: retrieval.precision_at_recall_levels(*data, np.array([0.5])),
    "ndcg_at_n": lambda *data: retrieval.ndcg_at_n(*data, RANKS),
    "precision_by_radius": retrieval.precision_by_radius,
    "precision_recall_curve": retrieval.precision_recall_curve,
    "precision_within_radius": retrieval.precision_within_radius,
}
PURE = {name: FUNCTIONS[name] for name in list(FUNCTIONS)[5:]}


@functools.cache
def make_data():
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 2, (4, 33))
    query_labels, labels = rng.integers(-1, 4, 12), rng.integers(-1, 4, 50)
    codes = lambda rows: prototypes[rows] ^ (rng.random((len(rows), 33)) < 0.2)
    return codes(query_labels), codes(labels), query_labels, labels


def forms():
    query, database, query_labels, labels = make_data()
    big = lambda rows: np.where(rows >= 0, rows * 2**32 + 5, rows)
    return {
        "signs": (2 * query - 1, 2 * database - 1, query_labels, labels),
        "float signs against bits": (2.0 * query - 1, database.astype(bool), query_labels, labels),
        "unsigned": (query.astype(np.uint8), (2 * database - 1).astype(np.int8), query_labels, labels),
        "float labels": (query, database, query_labels.astype(np.float32), labels.astype(np.float64)),
        "big class numbers": (query, database, big(query_labels), big(labels)),
        "JAX arrays": tuple(map(jnp.asarray, make_data())),
        "lists": tuple(array.tolist() for array in make_data()),
    }


def test_every_form_becomes_the_same_arrays():
    expected = accept(*make_data())
    for form, data in forms().items():
        for got, each in zip(accept(*data), expected, strict=True):
            assert got.dtype == each.dtype
            # Renumbered classes are other numbers, in the same order.
            same = np.unique(got, return_inverse=True)[1], np.unique(each, return_inverse=True)[1]
            np.testing.assert_array_equal(*same, err_msg=form)


@pytest.mark.parametrize("name", ["evaluate", "stable_map", "evaluate_queries", "stable_queries", "reproduce_map"])
def test_every_form_gives_the_same_numbers(name):
    expected = jax.tree.leaves(FUNCTIONS[name](*make_data()))
    for form, data in forms().items():
        for got, each in zip(jax.tree.leaves(FUNCTIONS[name](*data)), expected, strict=True):
            np.testing.assert_array_equal(got, each, err_msg=form)


def test_signs_and_big_class_numbers_outside_of_a_program():
    expected = retrieval.mean_average_precision(*make_data())
    for form in ("signs", "big class numbers"):
        assert float(retrieval.mean_average_precision(*forms()[form])) == float(expected)


@jax.jit
def everything(*data):
    return [function(*data) for function in PURE.values()]


def test_signs_are_codes_inside_a_program():
    query, database, query_labels, labels = make_data()
    signs = 2 * query - 1, 2.0 * database - 1, query_labels, labels
    expected = everything(*make_data())
    for got, each in zip(jax.tree.leaves(everything(*signs)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(got, each)
    # Two query sets against one database, whose values are checked as usual.
    mapped = jax.vmap(lambda codes: retrieval.mean_average_precision(codes, *signs[1:]))(np.stack([query, signs[0]]))
    np.testing.assert_allclose(mapped, [expected[0]] * 2, rtol=1e-6)


BAD = {
    "logits": (0, lambda x: x + 0.25, "query codes: .* is not binary"),
    "probabilities": (1, lambda x: 0.9 * x, "database codes: 0.9 in row . is not binary"),
    "three values": (1, lambda x: np.where(np.arange(33) < 3, -1, x), "database codes: -1, 0 and 1 occur"),
    "fractions": (3, lambda x: x / 2, "database labels: .* is not a class number"),
    "counts": (2, lambda x: np.full((len(x), 3), 2), "query labels: 2 in row 0; multi-hot labels are 0 and 1"),
    "rows": (3, lambda x: x[1:], "database: 50 rows of codes but 49 rows of labels"),
    "no rows": (0, lambda x: x[:0], r"query codes: shape \(0, 33\) is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_everything_else_is_refused_by_every_function(name):
    place, spoil, message = BAD[name]
    data = list(make_data())
    data[place] = spoil(data[place])
    for function in FUNCTIONS.values():
        with pytest.raises(UserError, match=message) as error:
            function(*data)
        assert "\n" not in str(error.value)


def test_traced_arrays_are_taken_as_they_come():
    data = make_data()

    @jax.jit
    def shapes(query_codes, query_labels):
        given = accept(query_codes, data[1], query_labels, data[3])
        assert given.query_codes is query_codes and given.query_labels is query_labels
        assert given.database_codes.dtype == np.uint8 and given.database_labels.dtype == np.int32
        with pytest.raises(UserError, match="query codes have 32 bits"):
            accept(query_codes[:, :32], data[1], query_labels, data[3])
        with pytest.raises(UserError, match="beyond int32"):
            accept(query_codes, data[1], query_labels, data[3] * 2**32)
        return query_labels

    shapes(data[0], data[2])
