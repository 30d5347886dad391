"""ADSH: soft similarity, the discrete step against every code there is, and the loss by loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import TRAINING, make, toy

from drlhash_jax.encoders import fit_input_spec
from drlhash_jax.methods import adsh
from drlhash_jax.retrieval import mean_average_precision
from drlhash_jax.training import fit, place_rows


def make_kept(labels, codes, ratio):
    hot = jnp.asarray(np.eye(labels.max() + 1)[labels], jnp.float32)
    inside, which = jnp.ones(len(labels)), (jnp.arange(len(labels)), jnp.zeros(len(labels), bool))
    return adsh.Asymmetric(codes, jnp.zeros_like(codes), hot, inside, jnp.float32(ratio), *which)


def test_ratio_makes_soft_similarity_sum_to_zero():
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2])
    hot = jnp.asarray(np.eye(3)[labels], jnp.float32)
    sampled = jnp.array([0, 3, 5, 8])
    ratio = adsh.pair_ratio(hot[sampled], hot, jnp.ones(9))
    # Similar pairs of the sample with all rows: 2 + 3 + 4 + 4 = 13 of 36.
    np.testing.assert_allclose(ratio, 13 / 23, rtol=1e-6)
    similar = (labels[np.array(sampled), None] == labels).astype(float)
    assert abs((similar * (1 + float(ratio)) - float(ratio)).sum()) < 1e-5
    # Rows outside do not count: without the class 2, 2 + 3 of 20 pairs.
    inside = jnp.asarray((labels < 2).astype(np.float32))
    np.testing.assert_allclose(adsh.pair_ratio(hot[sampled], hot, inside), 5 / 15, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_no_single_bit_of_a_column_can_do_better(seed):
    """One column at a time, the sweep finds the best of all 2^n columns given the others."""
    rng = np.random.default_rng(seed)
    n, num_bits, gamma = 6, 3, 2.0
    labels = np.arange(n) % 2
    sampled = np.array([0, 1, 3, 4])
    codes = np.where(rng.random((n, num_bits)) < 0.5, 1.0, -1.0)
    outputs = np.zeros((n, num_bits))
    outputs[sampled] = rng.uniform(-1, 1, (4, num_bits))
    ratio = 0.7
    as32 = lambda x: jnp.asarray(x, jnp.float32)
    kept = make_kept(labels, as32(codes), ratio)
    found = np.asarray(adsh.update_codes(as32(codes), as32(outputs), jnp.asarray(sampled), kept, gamma))

    soft = np.where(labels[sampled, None] == labels, 1.0, -ratio)
    u = outputs[sampled]
    cost = lambda v: ((u @ v.T - num_bits * soft) ** 2).sum() + gamma * ((v[sampled] - u) ** 2).sum()
    expected = codes.copy()
    for bit in range(num_bits):
        tries = []
        for column in itertools.product([-1.0, 1.0], repeat=n):
            each = expected.copy()
            each[:, bit] = column
            tries.append(each)
        expected = min(tries, key=cost)
    np.testing.assert_array_equal(found, expected)
    assert cost(found) <= cost(codes)


def test_a_round_keeps_its_sample():
    settings = adsh.ADSHSettings(num_samples=5, epochs_per_round=3)
    subset = jnp.arange(20) * 2
    samples = [set(np.asarray(adsh._sample(jax.random.key(0), epoch, subset, settings)).tolist()) for epoch in range(6)]
    assert samples[0] == samples[1] == samples[2] != samples[3] == samples[4] == samples[5]
    assert all(len(sample) == 5 and all(row % 2 == 0 for row in sample) for sample in samples)
    # Fewer rows than samples: all of them.
    assert len(adsh._sample(jax.random.key(0), 0, subset[:3], settings)) == 3


def test_codes_are_updated_when_training_ends_within_a_round():
    """Two epochs of a round of three: the codes that are handed on are not the random ones of the start."""
    inputs, labels, _ = toy("adsh")
    training = TRAINING.replace(num_epochs=2)
    phases = make("adsh", training=training).phases
    codes = fit(phases, place_rows(inputs, labels, fit_input_spec(inputs)), lambda name: jax.random.key(0))["codes"]
    assert mean_average_precision(codes, codes, labels, labels) > 0.6
