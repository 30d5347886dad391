"""Codes of cells: what a flip wins by counting, that a search ends where none wins, and when the network's codes stay."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import fitted, make, toy

from drlhash_jax.encoders import fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.methods import cells, erh
from drlhash_jax.training import Batch, Start


def by_counting(query, database, counts, posterior):
    """J of signs, by loops over queries, classes and distances."""
    total = 0.0
    for i in range(len(query)):
        weights = counts - (np.arange(len(counts)) == i)
        distances = np.count_nonzero(query[i] != database, axis=1)
        for c in range(posterior.shape[1]):
            rows = relevant = found = 0.0
            for b in range(query.shape[1] + 1):
                n = weights[distances == b].sum()
                r = (weights * posterior[:, c])[distances == b].sum()
                found += r * (relevant + r / 2 + 0.5) / (rows + n / 2 + 0.5)
                rows, relevant = rows + n, relevant + r
            total += counts[i] * posterior[i, c] * found / relevant
    return total / counts.sum()


def draw(two, num_cells=6, num_bits=4, num_classes=3):
    rng = np.random.default_rng(1)
    posterior = rng.dirichlet(np.full(num_classes, 0.5), num_cells)
    counts = rng.integers(1, 5, num_cells).astype(np.float64)
    query, other = (rng.choice([-1.0, 1.0], (num_cells, num_bits)) for _ in range(2))
    return query, other if two else query, counts, posterior


def test_expected_precision_golden():
    """Two classes that are certain, a cell each of 2 and 1 rows, codes 0 and 1.

    A query of the first cell has one other row of its class at distance 0: 1 x (0 + .5 + .5) / (0 + .5 + .5) = 1. That
    of the second has none at all, and counts as 0. So J = (2 x 1 + 1 x 0) / 3.
    """
    codes = jnp.float32([[-1], [1]])
    found = cells.expected_precision(codes, codes, jnp.float32([2, 1]), jnp.eye(2))
    assert float(found) == pytest.approx(2 / 3)


@pytest.mark.parametrize("two", [False, True])
def test_gains_are_those_of_counting(two):
    query, database, counts, posterior = draw(two)
    single = [jnp.float32(each) for each in (query, database, counts, posterior)]
    before = by_counting(query, database, counts, posterior)
    assert float(cells.expected_precision(*single)) == pytest.approx(before, rel=1e-5)
    of_query, of_database = cells.flip_gains(*single, two)
    for i, k in itertools.product(range(len(query)), range(query.shape[1])):
        flip = np.ones_like(query)
        flip[i, k] = -1
        value = lambda a, b: by_counting(a, b, counts, posterior) - before
        if two:
            assert float(of_query[i, k]) == pytest.approx(value(query * flip, database), abs=1e-6)
            assert float(of_database[i, k]) == pytest.approx(value(query, database * flip), abs=1e-6)
        else:
            assert float((of_query + of_database)[i, k]) == pytest.approx(value(query * flip, query * flip), abs=1e-6)


def test_cells_are_means_of_their_rows():
    rng = np.random.default_rng(0)
    centres = np.float32([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
    kind = np.repeat(np.arange(3), [5, 3, 2])
    rows = centres[kind] + 0.01 * rng.random((10, 3)).astype(np.float32)
    means, counts = cells.make_cells(rows, 8)
    assert counts.sum() == 10 and len(means) <= 8
    np.testing.assert_allclose(counts @ means, rows.sum(axis=0), rtol=1e-5)
    # Rows that are all the same are one cell.
    means, counts = cells.make_cells(np.repeat(centres[:1], 7, axis=0), 4)
    np.testing.assert_allclose(means, centres[:1])
    assert counts.tolist() == [7.0]


def search(two, lengths=(4,), labels=None, most=1_000, network=None):
    """All rounds for 30 rows: the phase, its last state, the values of J, and the network's codes."""
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.full(3, 0.4), 30).astype(np.float32)
    weights = {role: rng.normal(size=(3, lengths[-1])) for role in ("query", "database")}
    network = network or (lambda params, p, role: jnp.where(p @ weights[role if two else "query"] >= 0, 1.0, -1.0))
    phase = cells.cells_phase(network, most, two, lengths)
    labels = np.zeros(30, np.int32) if labels is None else labels
    before = {"params": {"a": 1}, "posterior": posterior}
    state = phase.init(jax.random.key(0), Start(None, labels, np.arange(30), 3, None, before, {}, 1))
    values, step = [], jax.jit(lambda state: phase.step(state, Batch(None, None, None, None), None, num_steps=60))
    for _ in range(phase.num_epochs):
        state, metrics = step(state)
        values.append(-float(metrics["loss"]))
    return phase, state, values, network


@pytest.mark.parametrize(("two", "lengths"), [(False, (4,)), (True, (4,)), (False, (2, 4))])
def test_a_search_ends_where_no_flip_wins(two, lengths):
    phase, state, values, _ = search(two, lengths)
    assert values == sorted(values) and bool(state.params["ended"])
    codes, counts, means = state.params["codes"], state.extra["counts"], state.extra["means"]
    query, database = (np.asarray(codes.get(role, codes["query"])) for role in ("query", "database"))
    assert len(counts) == 10 and counts.sum() == 30
    value = lambda a, b: np.mean([by_counting(a[:, :length], b[:, :length], counts, means) for length in lengths])
    best = value(query, database)
    assert values[-1] == pytest.approx(best, rel=1e-5)
    for i, k in itertools.product(range(10), range(4)):
        flip = np.ones_like(query)
        flip[i, k] = -1
        tried = [(query * flip, database), (query, database * flip)] if two else [(query * flip, database * flip)]
        assert max(value(*each) for each in tried) < best + 1e-6
    found = phase.finish(state)["params"]
    assert found["a"] == 1 and set(found["cells"]) == {"roots", *codes}


def test_codes_of_no_use_stay_the_networks():
    """Codes of a single cell are all the same; and whatever the labels of a row have in common is not counted here."""
    assert set(search(False, most=1)[0].finish(search(False, most=1)[1])["params"]) == {"a"}
    phase, state, values, _ = search(False, labels=np.ones((30, 3), np.uint8))
    assert phase.finish(state)["params"] == {"a": 1} and set(values) == {0.0}


def test_a_code_for_all_becomes_codes_of_classes():
    """From equal codes, where no single row is better off alone at first."""
    phase, state, values, _ = search(False, network=lambda params, p, role: jnp.ones((len(p), 4)))
    assert values[-1] > values[0] > 0.3
    assert len(np.unique(np.asarray(state.params["codes"]["query"]), axis=0)) > 3
    assert "cells" in phase.finish(state)["params"]


def test_a_row_has_the_code_of_the_nearest_cell():
    p = np.float32([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.34, 0.33, 0.33]])
    found = {"roots": jnp.sqrt(jnp.eye(3)), "query": jnp.float32([[1, 1], [1, -1], [-1, 1]])}
    np.testing.assert_array_equal(cells.cell_codes(found, p, "query"), [[1, 1], [1, -1], [1, 1]])
    np.testing.assert_array_equal(cells.cell_codes(found, p, "database"), [[1, 1], [1, -1], [1, 1]])
    two = found | {"database": -found["query"]}
    np.testing.assert_array_equal(cells.cell_codes(two, p, "database"), [[-1, -1], [-1, 1], [-1, -1]])


@pytest.mark.parametrize("name", ["erh", "erh_two"])
def test_models_code_by_cells(name):
    params, (inputs, _, queries) = dict(fitted(name)["params"]), toy(name)
    x = np.asarray(prepare_inputs(queries, fit_input_spec(inputs)))
    method = make(name)
    assert method.phases[-1].name == "cells"
    rng = np.random.default_rng(0)
    roots = jnp.sqrt(jnp.float32(rng.dirichlet(np.ones(4), 9)))
    codes = {
        role: jnp.float32(rng.choice([-1.0, 1.0], (9, 16))) for role in ("query", "database")[: 1 + (name == "erh_two")]
    }
    params["cells"] = {"roots": roots} | codes
    given = erh.class_posterior(params, x, erh._class_logits(make_encoder("mlp", 16, hidden=(32,)), 4))
    for role in codes:
        expected = cells.cell_codes(params["cells"], given, role)
        np.testing.assert_array_equal(method.logits_for(role)(params, x), expected)
