"""Codes of cells: what a flip wins by counting, that searches end where none wins, when the network's codes stay."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import NUM_BITS, NUM_CLASSES, fitted, make, toy

from drlhash_jax.encoders import fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.methods import cells, erh
from drlhash_jax.training import Batch, Start


def by_counting(codes, counts, posterior):
    """J of signs, by loops over queries, classes and distances."""
    total = 0.0
    for i in range(len(codes)):
        weights = counts - (np.arange(len(counts)) == i)
        distances = np.count_nonzero(codes[i] != codes, axis=1)
        for c in range(posterior.shape[1]):
            rows = relevant = found = 0.0
            for b in range(codes.shape[1] + 1):
                n = weights[distances == b].sum()
                r = (weights * posterior[:, c])[distances == b].sum()
                found += r * (relevant + r / 2 + 0.5) / (rows + n / 2 + 0.5)
                rows, relevant = rows + n, relevant + r
            total += counts[i] * posterior[i, c] * found / relevant
    return total / counts.sum()


def flipped(codes):
    """A cell, a bit, and codes with that bit flipped, for all of them."""
    for i, k in itertools.product(range(codes.shape[0]), range(codes.shape[1])):
        other = codes.copy()
        other[i, k] *= -1
        yield i, k, other


def test_expected_precision_golden():
    """Two classes that are certain, a cell each of 2 and 1 rows, codes 0 and 1.

    A query of the first cell has one other row of its class at distance 0: 1 x (0 + .5 + .5) / (0 + .5 + .5) = 1. That
    of the second has none at all, and counts as 0. So J = (2 x 1 + 1 x 0) / 3.
    """
    found = cells.expected_precision(jnp.float32([[-1], [1]]), jnp.float32([2, 1]), jnp.eye(2))
    assert float(found) == pytest.approx(2 / 3)


def test_gains_are_those_of_counting():
    rng = np.random.default_rng(1)
    codes, posterior = rng.choice([-1.0, 1.0], (6, 4)), rng.dirichlet(np.full(3, 0.5), 6)
    counts = rng.integers(1, 5, 6).astype(np.float64)
    single = [jnp.float32(each) for each in (codes, counts, posterior)]
    before = by_counting(codes, counts, posterior)
    assert float(cells.expected_precision(*single)) == pytest.approx(before, rel=1e-5)
    gains = cells.flip_gains(*single)
    for i, k, other in flipped(codes):
        assert float(gains[i, k]) == pytest.approx(by_counting(other, counts, posterior) - before, abs=1e-6)


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


def search(lengths=(4,), labels=None, most=1_000, network=None):
    """All rounds for 30 rows: the phase, its last state, and the values of J."""
    rng = np.random.default_rng(0)
    posterior = rng.dirichlet(np.full(3, 0.4), 30).astype(np.float32)
    weights = rng.normal(size=(3, lengths[-1]))
    network = network or (lambda params, p: jnp.where(p @ weights >= 0, 1.0, -1.0))
    phase = cells.cells_phase(network, most, lengths)
    labels = np.zeros(30, np.int32) if labels is None else labels
    before = {"params": {"a": 1}, "posterior": posterior}
    state = phase.init(jax.random.key(0), Start(None, labels, np.arange(30), 3, None, before, {}, 1))
    values, step = [], jax.jit(lambda state: phase.step(state, Batch(None, None, None, None), None, num_steps=60))
    for _ in range(phase.num_epochs):
        state, metrics = step(state)
        values.append(-float(metrics["loss"]))
    return phase, state, values


@pytest.mark.parametrize("lengths", [(4,), (2, 4)])
def test_a_search_ends_where_no_flip_wins(lengths):
    phase, state, values = search(lengths)
    assert values == sorted(values) and bool(state.params["ended"])
    codes, counts, means = np.asarray(state.params["codes"]), state.extra["counts"], state.extra["means"]
    assert len(counts) == 10 and counts.sum() == 30
    value = lambda codes: np.mean([by_counting(codes[:, :length], counts, means) for length in lengths])
    best = value(codes)
    assert values[-1] == pytest.approx(best, rel=1e-5)
    assert max(value(other) for _, _, other in flipped(codes)) < best + 1e-6
    found = phase.finish(state)["params"]
    assert found["a"] == 1 and set(found["cells"]) == {"roots", "codes"}


def test_codes_of_no_use_leave_the_networks():
    """Codes of a single cell are all the same; and whether multi-label rows share a label is not what is counted."""
    phase, state, _ = search(most=1)
    assert phase.finish(state)["params"] == {"a": 1}
    phase, state, values = search(labels=np.ones((30, 3), np.uint8))
    assert phase.finish(state)["params"] == {"a": 1} and set(values) == {0.0}


def test_one_code_for_all_becomes_codes_of_classes():
    phase, state, values = search(network=lambda params, p: jnp.ones((len(p), 4)))
    assert values[-1] > values[0] > 0.3
    assert len(np.unique(np.asarray(state.params["codes"]), axis=0)) > 3
    assert "cells" in phase.finish(state)["params"]


def test_a_row_has_the_code_of_the_nearest_cell():
    p = np.float32([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0], [0.34, 0.33, 0.33]])
    found = {"roots": jnp.sqrt(jnp.eye(3)), "codes": jnp.float32([[1, 1], [1, -1], [-1, 1]])}
    np.testing.assert_array_equal(cells.cell_codes(found, p), [[1, 1], [1, -1], [1, 1]])


def test_models_code_by_cells():
    params, (inputs, _, queries) = dict(fitted("erh")["params"]), toy("erh")
    x, method = np.asarray(prepare_inputs(queries, fit_input_spec(inputs))), make("erh")
    assert method.phases[-1].name == "cells" and make("erh_two").phases[-1].name == "code_layer"
    rng = np.random.default_rng(0)
    roots = jnp.sqrt(jnp.float32(rng.dirichlet(np.ones(NUM_CLASSES), 9)))
    params["cells"] = {"roots": roots, "codes": jnp.float32(rng.choice([-1.0, 1.0], (9, NUM_BITS)))}
    class_logits = erh._class_logits(make_encoder("mlp", NUM_BITS, hidden=(32,)), NUM_CLASSES)
    expected = cells.cell_codes(params["cells"], erh.class_posterior(params, x, class_logits))
    np.testing.assert_array_equal(method.logits(params, x), expected)
    assert len(np.unique(expected, axis=0)) > 2
