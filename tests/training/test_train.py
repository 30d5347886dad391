"""Stage 2: batches, one step by hand, convergence on separable data, reproducibility, compilation."""

import functools
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trainings import code_batch, code_state, encoder_phase, fit_encoder
from trainings import codes as encode_codes

from drlhash_jax.encoders import InputSpec, fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.training import TrainingSettings, gradient
from drlhash_jax.training.feeds import epoch_batches
from drlhash_jax.training.gradient import start_from
from drlhash_jax.training.phase import epoch_keys, shuffle_rows

LINEAR = make_encoder("mlp", 2, hidden=())


def sgd(trunk, head):
    return TrainingSettings(optimizer="sgd", learning_rate=trunk, head_learning_rate=head)


def start(params, settings):
    return code_state(params, gradient._optimizer(settings, 1))


def linear_step(state, inputs, codes, weights, settings, encoder=LINEAR):
    batch, extra = code_batch(inputs, codes, weights)
    step = encoder_phase(encoder, settings).step
    after, metrics = step(state.replace(extra=extra), batch, jax.random.key(0), num_steps=1, axis_name=None)
    return after, metrics["loss"]


def zero_params():
    return {"head": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}


def blobs(num_rows=200, num_bits=8, seed=0):
    """Four well separated blobs in eight dimensions, a code for each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % 4
    centres = 4 * rng.normal(size=(4, 8))
    inputs = (centres[labels] + rng.normal(size=(num_rows, 8))).astype(np.float32)
    codes = np.array([[(c * 37 + 11) >> b & 1 for b in range(num_bits)] for c in range(4)], np.uint8)[labels]
    return inputs, codes


@pytest.mark.parametrize(("num_rows", "batch_size"), [(10, 4), (8, 4), (3, 5), (1, 1), (7, 1)])
def test_epoch_batches_cover_each_row_once(num_rows, batch_size):
    rows = jnp.arange(num_rows, dtype=jnp.int32) * 3 + 5
    picked, weights = epoch_batches(shuffle_rows(jax.random.key(0), 0, rows, rows), batch_size)
    num_batches = (num_rows + batch_size - 1) // batch_size
    assert picked.shape == weights.shape == (num_batches, batch_size)
    assert weights.dtype == jnp.float32
    assert sorted(np.asarray(picked)[np.asarray(weights) == 1].tolist()) == rows.tolist()
    assert sorted(np.unique(weights).tolist()) == ([1.0] if num_rows % batch_size == 0 else [0.0, 1.0])
    # The filling is at the end of the last batch.
    np.testing.assert_array_equal(np.ravel(weights), np.arange(num_batches * batch_size) < num_rows)


def test_epoch_batches_are_in_random_order():
    rows = jnp.arange(50, dtype=jnp.int32)
    first, again, other = (shuffle_rows(jax.random.key(seed), 0, rows, rows) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, np.arange(50)) and not np.array_equal(first, other)
    assert not np.array_equal(first, shuffle_rows(jax.random.key(0), 1, rows, rows))
    assert len(epoch_keys(jax.random.key(0), 0)) == 3


def test_one_step_by_hand():
    settings = sgd(9.0, 0.4)
    batch = jnp.array([[1.0, 2.0]]), jnp.array([[1, 0]], jnp.uint8), jnp.ones(1)
    state, loss = linear_step(start(zero_params(), settings), *batch, settings)
    # Logits 0, sigma = .5: d loss/d logits = (.5 - b)/2 = (-.25, .25); kernel gradient x^T of it.
    np.testing.assert_allclose(loss, np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(state.params["head"]["kernel"], [[0.1, -0.1], [0.2, -0.2]], rtol=1e-5)
    np.testing.assert_allclose(state.params["head"]["bias"], [0.1, -0.1], rtol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_steps_of_a_linear_model_against_loops(seed):
    rng = np.random.default_rng(seed)
    settings = sgd(0.0, 0.3)
    kernel, bias = rng.normal(size=(2, 2)), rng.normal(size=2)
    as32 = lambda x: jnp.asarray(x, jnp.float32)
    state = start({"head": {"kernel": as32(kernel), "bias": as32(bias)}}, settings)
    for _ in range(3):
        x, b = rng.normal(size=(4, 2)), rng.integers(0, 2, (4, 2))
        weights = np.array([1.0, 1.0, 1.0, 0.0])
        state, loss = linear_step(state, as32(x), jnp.asarray(b, jnp.uint8), as32(weights), settings)
        expected, kernel_gradient, bias_gradient = 0.0, np.zeros((2, 2)), np.zeros(2)
        for i in range(3):
            for k in range(2):
                p = 1 / (1 + np.exp(-(x[i] @ kernel[:, k] + bias[k])))
                expected -= (np.log(p) if b[i, k] else np.log(1 - p)) / 6
                kernel_gradient[:, k] += (p - b[i, k]) * x[i] / 6
                bias_gradient[k] += (p - b[i, k]) / 6
        kernel, bias = kernel - 0.3 * kernel_gradient, bias - 0.3 * bias_gradient
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(state.params["head"]["kernel"], kernel, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.params["head"]["bias"], bias, rtol=1e-4, atol=1e-6)


def test_padding_has_no_influence():
    settings = sgd(0.1, 0.1)
    inputs, codes = jnp.array([[1.0, 2.0], [-3.0, 1.0]]), jnp.array([[1, 0], [0, 0]], jnp.uint8)
    plain = inputs, codes, jnp.ones(2)
    padded = (
        jnp.concatenate([inputs, jnp.full((3, 2), 1e6)]),
        jnp.concatenate([codes, jnp.ones((3, 2), jnp.uint8)]),
        jnp.array([1.0, 1.0, 0.0, 0.0, 0.0]),
    )
    results = [linear_step(start(zero_params(), settings), *batch, settings) for batch in (plain, padded)]
    chex.assert_trees_all_close(results[0][0].params, results[1][0].params, rtol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_learning_rate_zero_freezes_a_group(name):
    encoder = make_encoder("mlp", 3, hidden=(4,))
    inputs = jax.random.normal(jax.random.key(0), (6, 5))
    params = encoder.init(jax.random.key(1), inputs)["params"]
    batch, extra = code_batch(inputs, jnp.ones((6, 3), jnp.uint8), jnp.ones(6))
    for rates, still, moving in (((0.0, 0.1), "dense0", "head"), ((0.1, 0.0), "head", "dense0")):
        settings = TrainingSettings(optimizer=name, learning_rate=rates[0], head_learning_rate=rates[1])
        take = functools.partial(encoder_phase(encoder, settings).step, num_steps=1, axis_name=None)
        state = start(params, settings).replace(extra=extra)
        state, _ = jax.jit(take)(state, batch, jax.random.key(2))
        chex.assert_trees_all_equal(state.params[still], params[still])
        assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state.params[moving], params[moving]))))


FAST = TrainingSettings(num_epochs=10, batch_size=32, optimizer="adam", learning_rate=0.01, head_learning_rate=0.01)
SMALL = make_encoder("mlp", 8, hidden=(16,))


def test_separable_blobs_are_learnt():
    inputs, codes = blobs()
    spec = fit_input_spec(inputs)
    losses = []
    params = fit_encoder(
        jax.random.key(0), SMALL, inputs, codes, np.arange(200), spec, FAST, lambda epoch, loss: losses.append(loss)
    )
    assert (encode_codes(SMALL, params, inputs, spec) == codes).mean() >= 0.98
    assert len(losses) == 10 and losses[-1] < 0.3 * losses[0]


def test_same_key_same_parameters_and_no_recompilation():
    inputs, codes = blobs()
    spec = fit_input_spec(inputs)
    epochs = []
    on_epoch = lambda epoch, loss: epochs.append(epoch)
    # A batch size of no other test: the first epoch here is the first of its program.
    settings = FAST.replace(batch_size=25)
    fit = lambda seed: fit_encoder(jax.random.key(seed), SMALL, inputs, codes, np.arange(200), spec, settings, on_epoch)
    with mock.patch.object(gradient, "loss_and_gradient", wraps=gradient.loss_and_gradient) as traced:
        first = fit(0)
        # The scan's body is traced once or twice, and then never again.
        num_traces = traced.call_count
        again, other = fit(0), fit(1)
    assert traced.call_count == num_traces > 0
    chex.assert_trees_all_equal(first, again)
    assert (first["head"]["kernel"] != other["head"]["kernel"]).any()
    assert epochs == 3 * list(range(10))


def test_every_epoch_has_its_own_randomness():
    # Nothing moves at learning rate 0, and a batch holds all rows: only the dropped units tell the losses apart.
    inputs, codes = blobs(40)
    encoder = make_encoder("mlp", 8, hidden=(16,), dropout_rate=0.5)
    settings = FAST.replace(num_epochs=4, batch_size=40, learning_rate=0.0, head_learning_rate=0.0)
    losses = []
    on_epoch = lambda epoch, loss: losses.append(loss)
    fit_encoder(jax.random.key(0), encoder, inputs, codes, np.arange(40), fit_input_spec(inputs), settings, on_epoch)
    assert np.diff(np.sort(losses)).min() > 1e-4


def test_rows_that_are_left_out_do_not_matter():
    inputs, codes = blobs()
    rows = np.flatnonzero(np.arange(200) % 5 != 0)  # 160 rows, a multiple of the batch size
    spec = fit_input_spec(inputs[rows])
    changed, flipped = inputs.copy(), codes.copy()
    changed[::5] = 50.0
    flipped[::5] = 1 - flipped[::5]
    fit = lambda x, b: fit_encoder(jax.random.key(0), SMALL, x, b, rows, spec, FAST)
    chex.assert_trees_all_equal(fit(inputs, codes), fit(changed, flipped))


def test_filling_of_the_last_batch_does_not_matter():
    # 200 rows in batches of 32 leave 24 places, filled with row 0, which is not among the rows here.
    inputs, codes = blobs(201)
    rows = np.arange(1, 201)
    spec = fit_input_spec(inputs[1:])
    changed, flipped = inputs.copy(), codes.copy()
    changed[0], flipped[0] = -30.0, 1 - flipped[0]
    fit = lambda x, b: fit_encoder(jax.random.key(0), SMALL, x, b, rows, spec, FAST)
    chex.assert_trees_all_close(fit(inputs, codes), fit(changed, flipped), rtol=1e-6)


def test_images_are_normalised_and_augmented_alike():
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 2
    images = (rng.integers(0, 60, (32, 8, 8, 1)) + 180 * labels[:, None, None, None]).astype(np.uint8)
    codes = np.stack([labels, 1 - labels], axis=1).astype(np.uint8)
    encoder = make_encoder("compact", 2, width=8)
    spec = fit_input_spec(images)
    settings = FAST.replace(num_epochs=6, batch_size=16, max_shift=1)
    params = fit_encoder(jax.random.key(0), encoder, images, codes, np.arange(32), spec, settings)
    np.testing.assert_array_equal(encode_codes(encoder, params, images, spec), codes)


def test_divergence_is_an_error():
    inputs, codes = blobs()
    settings = FAST.replace(optimizer="sgd", learning_rate=1e30, head_learning_rate=1e30, num_epochs=3)
    with pytest.raises(FloatingPointError, match="learning rate"):
        fit_encoder(jax.random.key(0), SMALL, inputs, codes, np.arange(200), fit_input_spec(inputs), settings)


def test_stored_inputs_are_prepared_once():
    # One step on stored inputs equals one step on inputs that were normalised beforehand.
    inputs, codes = blobs(32)
    spec = fit_input_spec(inputs)
    identity = InputSpec(np.zeros(8, np.float32), np.ones(8, np.float32), "features")
    prepared = np.asarray(prepare_inputs(jnp.asarray(inputs), spec))
    settings = FAST.replace(num_epochs=1)
    fit = lambda x, spec: fit_encoder(jax.random.key(0), SMALL, x, codes, np.arange(32), spec, settings)
    chex.assert_trees_all_close(fit(inputs, spec), fit(prepared, identity), rtol=1e-5, atol=1e-6)


def test_training_starts_from_pretrained_layers_and_leaves_them_alone():
    inputs, codes = blobs(32)
    spec = fit_input_spec(inputs)
    pretrained = {"dense0": {"kernel": np.full((8, 16), 0.25, np.float32), "bias": np.zeros(16, np.float32)}}
    settings = FAST.replace(num_epochs=2, learning_rate=0.0)
    fit = lambda settings, given: fit_encoder(
        jax.random.key(0), SMALL, inputs, codes, np.arange(32), spec, settings, pretrained=given
    )
    frozen = fit(settings, pretrained)
    chex.assert_trees_all_equal(frozen["dense0"], pretrained["dense0"])
    # The head does not depend on what is given for the trunk until it is trained.
    assert (frozen["head"]["kernel"] != fit(settings, None)["head"]["kernel"]).any()
    # Arrays on the device are given as well, twice, and survive the training that starts from them.
    given = jax.tree.map(jnp.asarray, pretrained)
    first, again = (fit(settings.replace(learning_rate=0.1), given) for _ in range(2))
    chex.assert_trees_all_equal(first, again)
    chex.assert_trees_all_equal(given, pretrained)
    assert (first["dense0"]["kernel"] != pretrained["dense0"]["kernel"]).any()


@pytest.mark.parametrize(
    "wrong", [{"bias": np.zeros(16, np.float32)}, {"kernel": np.zeros((8, 15), np.float32), "bias": np.zeros(16)}]
)
def test_pretrained_layers_have_the_right_shapes(wrong):
    params = SMALL.init(jax.random.key(0), jnp.zeros((1, 8)))["params"]
    with pytest.raises(AssertionError):
        start_from(params, {"dense0": wrong})
