"""HashGAN: the pair loss by loops, a gradient penalty by hand, and a GAN of tiny images, stopped and on one device."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_step import as32, identity_layer, loss_and_gradient, make_linear, numeric_gradient

from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.errors import RunStoppedError
from drlhash_jax.methods import METHODS, Ingredients, TrainingFacts, hashgan
from drlhash_jax.parallel import find_devices
from drlhash_jax.training import Batch, TrainingSettings, fit, place_rows, run_phase
from drlhash_jax.types import Checkpoint

U = np.array([[0.3, -0.2, 1.5], [-0.7, 0.1, 0.4], [0.9, 0.8, -0.1], [2.0, 2.0, 2.0]])
LABELS = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
# The last row is padding.
WEIGHTS = np.array([1.0, 1.0, 1.0, 0.0])
ALPHA, QUANTISATION = 3.0, 0.7
TINY = hashgan.HashGANSettings(gan_epochs=2, critic_steps=3, noise_size=5, width=4, gan_learning_rate=1e-2)
TRAINING = TrainingSettings(num_epochs=2, batch_size=8, optimizer="adam", learning_rate=1e-3, head_learning_rate=1e-3)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def oracle(u):
    z, found = np.tanh(u), []
    for i in range(3):
        for j in range(3):
            if i != j:
                similar, theta = float(LABELS[i] @ LABELS[j] > 0), ALPHA * cosine(z[i], z[j])
                found.append((similar, np.log1p(np.exp(theta)) - similar * theta))
    weight = len(found) / sum(similar for similar, _ in found)
    pairs = np.mean([(weight if similar else 1.0) * value for similar, value in found])
    return pairs + QUANTISATION * np.mean([1 - cosine(np.abs(z[i]), np.ones(3)) for i in range(3)])


def test_loss_and_gradient_without_a_gan_by_loops():
    method = make_linear("hashgan", 3, gan=False, alpha=ALPHA, quantisation_weight=QUANTISATION)
    assert [phase.name for phase in method.phases] == ["encoder"]
    loss, slopes, _ = loss_and_gradient(method, identity_layer(3), U, LABELS, WEIGHTS)
    np.testing.assert_allclose(loss, oracle(U), rtol=1e-5)
    expected = numeric_gradient(lambda kernel: oracle(U @ kernel), np.eye(3))
    np.testing.assert_allclose(slopes["head"]["kernel"], expected, atol=2e-5)


def test_generated_rows_are_paired_with_all_real_ones():
    real, generated = (as32(np.random.default_rng(seed).normal(size=(4, 3))) for seed in (0, 1))
    batch = Batch(None, as32(LABELS), jnp.arange(4), as32(WEIGHTS))
    found = hashgan.pair_loss(generated, hashgan.pair_with_real(real, batch, None), ALPHA, None)
    values = []
    for i in range(3):
        for j in range(3):
            similar = float(LABELS[i] @ LABELS[j] > 0)
            theta = ALPHA * cosine(np.asarray(generated[i]), np.asarray(real[j]))
            # Seven of nine pairs share a label, those of a row with itself included.
            values.append((9 / 7 if similar else 1.0) * (np.log1p(np.exp(theta)) - similar * theta))
    np.testing.assert_allclose(found, np.mean(values), rtol=1e-5)


def test_penalty_of_a_linear_and_of_a_square_critic():
    rng = np.random.default_rng(0)
    images, w = as32(rng.normal(size=(3, 2, 2, 1))), rng.normal(size=(2, 2, 1))
    weights = jnp.array([1.0, 1.0, 0.0])
    linear = lambda w: lambda x: jnp.sum(x * w[None], axis=(1, 2, 3))
    length = np.linalg.norm(w)
    penalty = lambda w: hashgan.gradient_penalty(linear(w), images, weights, None)
    np.testing.assert_allclose(penalty(as32(w)), (length - 1) ** 2, rtol=1e-5)
    # The gradient of a gradient: 2 (|w| - 1) w / |w|.
    np.testing.assert_allclose(jax.grad(penalty)(as32(w)), 2 * (length - 1) * w / length, rtol=1e-4)
    # The slope of |x|^2 / 2 is x; at 0 nothing is divided by 0.
    square = lambda x: 0.5 * jnp.sum(x**2, axis=(1, 2, 3))
    lengths = np.linalg.norm(np.asarray(images[:2]).reshape(2, -1), axis=1)
    found = hashgan.gradient_penalty(square, images, weights, None)
    np.testing.assert_allclose(found, np.mean((lengths - 1) ** 2), rtol=1e-5)
    assert np.isfinite(jax.grad(penalty)(jnp.zeros((2, 2, 1)))).all()


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8), np.arange(20) % 3


def method():
    return hashgan.make(Ingredients(4, make_encoder("compact", 4, width=8), TRAINING, TINY))


def trained(photos, devices=None, **more):
    images, labels = photos
    rows = place_rows(images, labels, fit_input_spec(images), devices=devices)
    return run_phase(jax.random.key(1), method().phases[0], rows, **more)


@pytest.fixture(scope="module")
def plain(photos):
    losses = []
    handed_on = trained(photos, on_epoch=lambda epoch, means: losses.append(means["loss"]))
    return handed_on, losses


def assert_same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_gan_stopped_anywhere_ends_in_the_same_bits(photos, plain):
    saved = []

    def offer(position, state):
        saved.append(jax.tree.map(np.array, state))
        raise RunStoppedError("asked to")

    restore = lambda state: copy.deepcopy(saved[-1]) if saved else state
    while True:
        try:
            found = trained(photos, checkpoint=Checkpoint(restore, offer))
            break
        except RunStoppedError:
            continue
    assert len(saved) == 2
    assert_same(found, plain[0])
    assert len(plain[1]) == 2 and np.isfinite(plain[1]).all()


def test_gan_on_one_device_is_the_plain_program(photos, plain):
    assert_same(trained(photos, find_devices()), plain[0])


def test_the_generator_learns_in_every_third_step(photos):
    images, labels = photos
    spec = fit_input_spec(images)
    phase, rows = method().phases[0], place_rows(images, labels, spec)
    states = []
    run_phase(
        jax.random.key(1),
        phase._replace(num_epochs=1),
        rows,
        checkpoint=Checkpoint(
            lambda state: states.append(state[0]) or state, lambda place, state: states.append(state[0])
        ),
    )
    # Three steps of eight rows: one of the generator, three of the critic.
    counts = {name: int(each[0].count) for name, each in states[-1].opt_state.items()}
    assert counts == {"critic": 3, "generator": 1}


def test_generated_images_are_bytes_after_normalisation(photos, plain):
    images, labels = photos
    spec, handed_on = fit_input_spec(images), plain[0]
    span = hashgan.ByteRange(as32(handed_on["low"]), as32(handed_on["high"]))
    batch = Batch(jnp.zeros((6, 8, 8, 3)), as32(np.eye(3)[labels[:6]]), jnp.arange(6), jnp.ones(6), jax.random.key(0))
    found = hashgan.generate(handed_on["generator"], span, batch, 0, TINY)
    shades = np.asarray(found) * spec.scale + spec.mean
    assert found.shape == (6, 8, 8, 3) and shades.min() >= -1e-3 and shades.max() <= 255 + 1e-3
    # What is drawn for a row depends on its number, not on its place.
    turned = jax.tree.map(lambda x: x[::-1], batch._replace(key=None))._replace(key=batch.key)
    np.testing.assert_allclose(hashgan.generate(handed_on["generator"], span, turned, 0, TINY), found[::-1], atol=1e-5)
    # A side that is no multiple of 4 is cut off.
    odd = jax.eval_shape(hashgan.Generator((7, 10, 1), 4).init_with_output, jax.random.key(0), jnp.zeros((2, 3)))
    assert odd[0].shape == (2, 7, 10, 1)


def test_both_phases_train_an_encoder(photos):
    images, labels = photos
    rows = place_rows(images, labels, fit_input_spec(images))
    assert [phase.name for phase in method().phases] == ["gan", "encoder"]
    params = fit(method().phases, rows, lambda name: jax.random.key(2))["params"]
    logits = method().logits(params, jnp.zeros((2, 8, 8, 3)))
    assert logits.shape == (2, 4) and np.isfinite(logits).all()


def test_features_are_refused_by_the_gan_alone():
    spec = METHODS["hashgan"]
    facts = TrainingFacts(16, "features", (256,), 100, 10)
    assert "set hashgan.gan=false" in spec.misfit(spec.settings(), facts)
    assert spec.misfit(spec.settings().replace(gan=False), facts) is None
    assert spec.misfit(spec.settings(), facts._replace(kind="images", shape=(32, 30, 3))) is None
    assert "3 x 9" in spec.misfit(spec.settings(), facts._replace(kind="images", shape=(3, 9, 1)))
