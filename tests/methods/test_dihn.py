"""DIHN: codes that exist stay, the others never get worse, balance by loops, and three classes join seven."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import TRAINING, key_of, make

from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.methods import adsh, dihn
from drlhash_jax.retrieval import mean_average_precision
from drlhash_jax.training import Batch, FrozenCodes, Start, encode_codes, fit, place_rows

NUM_BITS = 12


def growing():
    """Ten classes of 30 rows, mixed, and queries: inputs, labels, queries, and which rows are of the first seven."""
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.normal(size=(10, 16))
    labels = rng.permutation(np.arange(300) % 10)
    inputs, queries = ((centres[labels] + rng.normal(size=(300, 16))).astype(np.float32) for _ in range(2))
    return inputs, labels, queries, labels < 7


def trained(name, inputs, labels, frozen=None):
    phases = make(name, NUM_BITS, TRAINING.replace(num_epochs=36)).phases
    return fit(phases, place_rows(inputs, labels, fit_input_spec(inputs), frozen=frozen), key_of)


def test_three_classes_join_seven():
    inputs, labels, queries, is_old = growing()
    old_rows = np.flatnonzero(is_old).astype(np.int32)
    first = trained("adsh", inputs[is_old], labels[is_old])
    old_codes = first["codes"]
    kept = old_codes.copy()
    grown = trained("dihn", inputs, labels, FrozenCodes(old_rows, old_codes))
    np.testing.assert_array_equal(grown["codes"][is_old], kept)
    np.testing.assert_array_equal(old_codes, kept)

    spec = fit_input_spec(inputs)
    encode = lambda params, x: encode_codes(make("dihn", NUM_BITS).logits, params, x, spec)
    query = encode(grown["params"], queries)
    everyone = mean_average_precision(query, grown["codes"], labels, labels)
    of_new = mean_average_precision(query[~is_old], grown["codes"], labels[~is_old], labels)
    # What the network of the seven classes makes of all ten.
    before = np.where(is_old[:, None], 0, encode(first["params"], inputs)).astype(np.uint8)
    before[is_old] = old_codes
    of_new_before = mean_average_precision(encode(first["params"], queries[~is_old]), before, labels[~is_old], labels)
    assert everyone > 0.9 and of_new > 0.85 and of_new > of_new_before + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_no_sweep_raises_the_objective_or_touches_frozen_codes(seed):
    rng = np.random.default_rng(seed)
    n, num_bits, gamma, ratio = 12, 4, 3.0, 0.6
    labels, sampled = rng.integers(0, 3, n), rng.permutation(n)[:7]
    hot = jnp.asarray(np.eye(3)[labels], jnp.float32)
    codes = np.where(rng.random((n, num_bits)) < 0.5, 1.0, -1.0)
    outputs = np.zeros((n, num_bits))
    outputs[sampled] = rng.uniform(-1, 1, (7, num_bits))
    frozen = np.arange(n) % 3 != 0
    as32 = lambda x: jnp.asarray(x, jnp.float32)
    facts = as32(codes), as32(outputs), hot, jnp.ones(n), jnp.float32(ratio), jnp.arange(n), jnp.asarray(frozen)
    kept = adsh.Asymmetric(*facts)
    soft = np.where(labels[sampled, None] == labels, 1.0, -ratio)
    cost = lambda v: (
        ((outputs[sampled] @ v.T - num_bits * soft) ** 2).sum() + gamma * ((v[sampled] - outputs[sampled]) ** 2).sum()
    )
    value = cost(codes)
    for _ in range(3):
        found = np.asarray(adsh.update_codes(as32(codes), as32(outputs), jnp.asarray(sampled), kept, gamma))
        np.testing.assert_array_equal(found[frozen], codes[frozen])
        assert cost(found) <= value + 1e-6
        codes, value = found, cost(found)
    # No bit of a new row does better by itself.
    for row in np.flatnonzero(~frozen):
        for bit in range(num_bits):
            other = codes.copy()
            other[row, bit] *= -1
            assert cost(other) >= value - 1e-4


def test_balance_by_loops():
    u = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    batch = Batch(None, None, jnp.arange(4), jnp.array([1.0, 1.0, 1.0, 0.0]))
    value, slope = jax.value_and_grad(lambda u: dihn.unbalance(u, batch, None))(jnp.asarray(u))
    sums = u[:3].sum(axis=0)
    assert float(value) == pytest.approx((sums**2).sum() / 3, rel=1e-5)
    expected = np.concatenate([np.repeat(2 * sums[None] / 3, 3, axis=0), np.zeros((1, 3))])
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_rows_are_old_because_they_have_a_code():
    labels = np.array([0, 1, 0, 1, 2, 2])
    codes = np.array([[1, 0], [0, 0]], np.uint8)
    frozen = FrozenCodes(np.array([4, 1], np.int32), codes)
    start = Start(None, labels, np.arange(6, dtype=np.int32), 3, None, None, {}, 1, frozen)
    kept = adsh._begin(jax.random.key(0), start, 2, dihn.DIHNSettings())
    np.testing.assert_array_equal(np.asarray(kept.codes)[[4, 1]], [[1, -1], [-1, -1]])
    np.testing.assert_array_equal(kept.frozen, [False, True, False, False, True, False])
