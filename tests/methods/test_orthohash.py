"""OrthoHash: the loss by loops, its gradient, codebooks, and codes that depend on their row alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_step import as32, identity_layer, loss_and_gradient, make_linear, numeric_gradient

from drlhash_jax.methods import METHODS, TrainingFacts, csq, orthohash
from drlhash_jax.training import Batch, State

RNG = np.random.default_rng(1)
U = RNG.normal(size=(5, 4)) * 2 + 1
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0]], float)
# The last row is padding.
WEIGHTS = np.array([1, 1, 1, 1, 0], float)
CODEBOOK = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [-1, -1, 1, 1]], float)


def oracle(u, margin, scale):
    v = (u - u[:4].mean(axis=0)) / np.sqrt(u[:4].var(axis=0) + 1e-5)
    total = 0.0
    for row in range(4):
        cosines = np.array([v[row] @ o / np.linalg.norm(v[row]) / np.linalg.norm(o) for o in CODEBOOK])
        scores = scale * (cosines - margin * LABELS[row])
        total -= (LABELS[row] / LABELS[row].sum()) @ (scores - np.log(np.exp(scores).sum()))
    return total / 4


@pytest.mark.parametrize(("margin", "scale"), [(0.0, None), (0.3, None), (0.2, 5.0)])
def test_loss_and_gradient_by_loops(margin, scale):
    kept = orthohash.Statistics(as32(CODEBOOK), jnp.zeros(4), jnp.zeros(4), jnp.zeros((), jnp.int32))
    method = make_linear("orthohash", 4, margin=margin, scale=scale)
    loss, slopes, after = loss_and_gradient(method, identity_layer(4), U, LABELS, WEIGHTS, kept)
    # The scale is the root of the four bits.
    loss_of = lambda kernel: oracle(U @ kernel, margin, scale or 2.0)
    np.testing.assert_allclose(loss, loss_of(np.eye(4)), rtol=1e-5)
    np.testing.assert_allclose(slopes["head"]["kernel"], numeric_gradient(loss_of, np.eye(4)), atol=2e-5)
    # A constant added to a bit changes nothing.
    np.testing.assert_allclose(slopes["head"]["bias"], 0, atol=1e-6)
    np.testing.assert_allclose(after.extra.mean, U[:4].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(after.extra.variance, U[:4].var(axis=0), rtol=1e-5)


def test_running_statistics_are_means_at_first_and_then_forget():
    kept = orthohash.Statistics(None, jnp.zeros(1), jnp.zeros(1), jnp.zeros((), jnp.int32))
    batches = [RNG.normal(size=(6, 1)) + step for step in range(14)]
    means = []
    for u in batches:
        batch = Batch(None, None, None, jnp.ones(6))
        kept = orthohash._keep_statistics(kept, as32(u), batch, None)
        means.append(float(kept.mean[0]))
    each = np.array([u.mean() for u in batches])
    np.testing.assert_allclose(means[:10], np.cumsum(each)[:10] / np.arange(1, 11), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(means[13], 0.9 * means[12] + 0.1 * each[13], rtol=1e-5)


@pytest.mark.parametrize("kind", orthohash.CODEBOOKS)
@pytest.mark.parametrize(("num_classes", "num_bits"), [(2, 12), (3, 16), (8, 3), (10, 4), (10, 48), (300, 12)])
def test_codes_of_classes_differ_and_waste_no_bit(kind, num_classes, num_bits):
    codes = orthohash.make_codebook(jax.random.key(0), num_classes, num_bits, kind)
    assert codes.shape == (num_classes, num_bits) and set(np.unique(codes)) == {-1, 1}
    assert len(np.unique(codes, axis=0)) == num_classes
    assert (np.abs(codes.sum(axis=0, dtype=int)) < num_classes).all()


def test_codes_of_maximum_distance_are_farther_apart_than_coins():
    least = {
        kind: [csq.least_distance(orthohash.make_codebook(jax.random.key(seed), 10, 32, kind)) for seed in range(5)]
        for kind in orthohash.CODEBOOKS
    }
    assert min(least["maximum_distance"]) > max(least["bernoulli"])
    # No ten codes of 32 bits are more than 17 apart (Plotkin), and rows of a Hadamard matrix are 16.
    assert min(least["maximum_distance"]) >= 13 and min(least["hadamard"]) == 16


def test_statistics_go_into_the_last_layer():
    method, params = make_linear("orthohash", 4), identity_layer(4)
    kept = orthohash.Statistics(None, as32([1.0, -2.0, 0.0, 3.0]), as32([4.0, 0.25, 1.0, 9.0]), jnp.int32(5))
    handed_on = method.phases[-1].finish(State(jnp.int32(5), params, None, kept))["params"]
    assert jax.tree.structure(handed_on) == jax.tree.structure(params)
    expected = (U - np.asarray(kept.mean)) / np.sqrt(np.asarray(kept.variance) + 1e-5)
    np.testing.assert_allclose(method.logits(handed_on, as32(U)), expected, rtol=1e-4, atol=1e-5)


def test_more_classes_than_codes_are_refused():
    spec = METHODS["orthohash"]
    facts = TrainingFacts(3, "features", (12,), 100, 9)
    assert spec.misfit(spec.settings(), facts) == (
        "3 bits give 8 codes, and each of the 9 classes needs one of its own: use 4 bits or more"
    )
    assert spec.misfit(spec.settings(), facts._replace(num_bits=4)) is None
