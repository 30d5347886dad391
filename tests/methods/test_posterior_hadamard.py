"""Signs of projected posteriors: the loss and the projection against loops, and what one class gets."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import NUM_CLASSES, fitted, make, toy

from drlhash_jax.encoders import fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.methods import METHODS, TrainingFacts, posterior_hadamard
from drlhash_jax.methods.csq import hash_centres
from drlhash_jax.settings import Settings
from drlhash_jax.training import Batch, Start


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def softmax(row):
    return [math.exp(x) / sum(math.exp(y) for y in row) for x in row]


def start(labels, num_classes):
    return Start(None, labels, np.arange(len(labels), dtype=np.int32), num_classes, None, None, {}, 1)


def projection(labels, num_classes, num_bits=8):
    phase = make("posterior_hadamard", num_bits).phases[0]
    return phase.finish(phase.init(jax.random.key(4), start(labels, num_classes)))


@pytest.mark.parametrize("multi_label", [False, True])
def test_loss_is_that_of_a_loop(multi_label):
    scores = [[0.5, -1.0, 2.0], [3.0, 0.2, -0.7], [1.0, 1.0, 1.0]]
    labels = [[0, 0, 1], [1, multi_label, 0], [0, 1, 0]]
    batch = Batch(None, jnp.array(labels, jnp.float32), jnp.arange(3), jnp.array([1.0, 1.0, 0.0]))
    each = []
    for row, wanted in zip(scores[:2], labels[:2]):
        if multi_label:
            chances = [sigmoid(x) if y else 1 - sigmoid(x) for x, y in zip(row, wanted)]
            each.append(-sum(map(math.log, chances)) / 3)
        else:
            each.append(-math.log(softmax(row)[wanted.index(1)]))
    loss = lambda s: posterior_hadamard.cross_entropy(s, batch, {"multi_label": np.asarray(multi_label)}, None)
    value, gradient = jax.value_and_grad(loss)(jnp.array(scores))
    np.testing.assert_allclose(value, sum(each) / 2, rtol=1e-5)
    # By hand: posterior less label, over the rows that count and, for labels one by one, over labels.
    for row, wanted, found in zip(scores[:2], labels[:2], gradient):
        p = [sigmoid(x) for x in row] if multi_label else softmax(row)
        expected = [(a - b) / 2 / (3 if multi_label else 1) for a, b in zip(p, wanted)]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(gradient[2], 0)


@pytest.mark.parametrize("multi_label", [False, True])
def test_projection_is_that_of_a_loop(multi_label):
    labels = np.array([0, 2, 2, 1, 2])
    found = projection(np.eye(3, dtype=np.uint8)[labels] if multi_label else labels, 3)
    np.testing.assert_array_equal(found["signs"], hash_centres(jax.random.key(4), 3, 8))
    np.testing.assert_allclose(found["frequency"], [0.2, 0.2, 0.6], rtol=1e-6)
    scores = [[0.5, -1.0, 2.0], [3.0, 0.2, -0.7]]
    logits = posterior_hadamard.project(jnp.array(scores), found)
    for b, k in itertools.product(range(2), range(8)):
        p = [sigmoid(x) for x in scores[b]] if multi_label else softmax(scores[b])
        expected = sum((p[c] - (0.2, 0.2, 0.6)[c]) * int(found["signs"][c, k]) for c in range(3))
        np.testing.assert_allclose(logits[b, k], expected, atol=1e-6)


def test_a_class_that_is_sure_has_the_signs_of_its_row():
    found = projection(np.arange(4) % 4, 4, 16)
    logits = posterior_hadamard.project(1e3 * jnp.eye(4), found)
    # Of four rows of +-1, the mean is at most 1/2 away from 0 unless the bit is the same for all.
    varies = np.abs(found["signs"].sum(axis=0)) < 4
    np.testing.assert_array_equal((logits >= 0)[:, varies], (found["signs"] > 0)[:, varies])


def test_the_encoder_has_an_output_for_each_class():
    handed_on = fitted("posterior_hadamard")["params"]
    assert handed_on["encoder"]["head"]["kernel"].shape == (32, NUM_CLASSES)
    inputs, _, queries = toy("posterior_hadamard")
    x = prepare_inputs(queries, fit_input_spec(inputs))
    scores = make_encoder("mlp", NUM_CLASSES, hidden=(32,)).apply({"params": handed_on["encoder"]}, x)
    expected = posterior_hadamard.project(scores, handed_on["projection"])
    np.testing.assert_array_equal(make("posterior_hadamard").logits(handed_on, x), expected)


def test_more_classes_than_codes_are_refused():
    facts = TrainingFacts(3, "features", (5,), 100, 9)
    assert (
        METHODS["posterior_hadamard"].misfit(Settings(), facts) == "3 bits cannot tell 9 classes apart: use at least 4"
    )
    assert METHODS["posterior_hadamard"].misfit(Settings(), facts._replace(num_classes=8)) is None
