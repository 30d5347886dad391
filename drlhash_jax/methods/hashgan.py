"""HashGAN: a conditional generator makes images, and pairs of real with generated ones help to train the encoder.

Cao, Liu, Long and Wang, "HashGAN: Deep Learning to Hash with Pair Conditional Wasserstein GAN", CVPR 2018. For codes z
and z' of two rows, s = 1 if they share a label, else 0, and theta = alpha cos(z, z'), all parts have the pair loss

    l(z, z') = w_s (log(1 + e^theta) - s theta),   w_1 = pairs / similar pairs of the batch, w_0 = 1

1. "gan": a critic with two heads, a score D and a code tanh h in R^K, and a generator G(noise, label vector) of images

       critic:     min  E D(G) - E D(x) + 10 E (|grad D(x^)| - 1)^2 + E l(x, x') + E l(const x, G)
       generator:  min  -E D(G) + g E l(const x, G)

   with x^ on the line between a real and a generated image. The critic learns in every step, the generator in every
   fifth.
2. "encoder": the configured encoder learns E l(x, x') + 0.1 E l(x, G) + q E (1 - cos(|z|, 1)) with z = tanh u of its
   logits u; G is fixed. A generated row has the labels of the row of the batch that it stands beside.

With gan=false the second part stands alone, without generated rows: it works on features too ("cosine cross-entropy and
cosine quantisation").

What differs from the paper: networks are small (three convolutions each; sizes are for images of 8 to 64 pixels, and
a side that is no multiple of 4 is cut off a larger one); the label vector stands beside the noise, where public code
overwrites part of it; real images have no noise added, and both phases see labelled rows only; a row is never paired
with itself; the last term is 1 - cosine where the paper has a log cosh of it. Generated images stay in the range that
bytes have after normalisation. Sources: 10, five critic steps, Adam 1e-4 with (0, 0.9) and generated weight 0.1 are
the paper's and its code's, g = 0.1 and alpha = 5 the defaults of the code (configurations of single datasets have 10);
it trains 100,000 steps. q and the sizes are ours.

Without a GAN, at 32 bits on `cifar10_features`, one seed: momentum at learning rate 1.0 collapses (31
bits are the same for all rows, mAP .16; the cause was not looked for), Adam at 1e-3 gives .606. What the generated
images add has not been measured.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts, encoder_logits
from drlhash_jax.methods.pairs import Pairs, mean_over_pairs, negative_log_likelihood, pair_rows, share_label
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, Start, State, gradient_phase, weighted_mean
from drlhash_jax.types import Array

# Numbers of what is random in a row, folded into the step's key.
_CRITIC_NOISE, _GENERATOR_NOISE, _LINE, _ENCODER_NOISE = range(4)


@dataclasses.dataclass(frozen=True)
class HashGANSettings(Settings):
    """Settings of HashGAN."""

    gan: bool = setting(True, "whether images are generated; false works on features too")
    alpha: float = setting(5.0, "factor of cosines", least=1e-3, most=1e3, search=(2.0, 10.0))
    quantisation_weight: float = setting(0.1, "weight of 1 - cos(|tanh u|, 1)", least=0.0, most=1e6)
    generated_weight: float = setting(0.1, "weight of pairs with generated images in the encoder", least=0.0, most=1e6)
    gan_epochs: int = setting(100, "passes of the GAN over the training rows", least=1, most=1_000_000)
    gan_learning_rate: float = setting(1e-4, "of critic and generator, Adam", least=0.0, most=1.0)
    critic_steps: int = setting(5, "of the critic for each of the generator", least=1, most=1_000)
    penalty_weight: float = setting(10.0, "weight of the gradient penalty", least=0.0, most=1e6)
    generator_weight: float = setting(0.1, "weight of the pair loss in the generator", least=0.0, most=1e6)
    noise_size: int = setting(
        128, "numbers that a generated image is made from, beside its labels", least=1, most=4_096
    )
    width: int = setting(64, "channels of the first layer of the critic; the others have more", least=1, most=4_096)


def misfit(settings: HashGANSettings, facts: TrainingFacts) -> str | None:
    """Refuses to generate what are not images."""
    if settings.gan and facts.kind != "images":
        return (
            f"it generates images, the data are {facts.kind}: set hashgan.gan=false, which trains its loss without "
            "generated rows, or use another method"
        )
    if settings.gan and min(facts.shape[:2]) < 4:
        return f"it generates images of 4 pixels or more, these have {facts.shape[0]} x {facts.shape[1]}: set gan=false"
    return None


def _draw_kernel(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """LeCun's normal initialiser, drawn as a matrix, which compiles faster than an array of four axes."""
    return nn.initializers.lecun_normal()(key, (math.prod(shape[:-1]), shape[-1]), dtype).reshape(shape)


class Generator(nn.Module):
    """Two doublings of a small picture, each with a 3x3 convolution and group normalisation.

    Attributes:
      shape: of an image, (H, W, channels).
      width: channels before the last layer.
    """

    shape: tuple[int, int, int]
    width: int

    @nn.compact
    def __call__(self, noise: Array) -> Array:
        """Images float32 ``[B, H, W, channels]`` with values from 0 to 1 of noise and labels ``[B, Z + C]``."""
        height, width, channels = self.shape
        x = nn.Dense(-(-height // 4) * -(-width // 4) * 2 * self.width)(noise)
        x = x.reshape(len(noise), -(-height // 4), -(-width // 4), 2 * self.width)
        for _ in range(2):
            x = nn.relu(nn.GroupNorm(num_groups=1)(x))
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = nn.Conv(self.width, (3, 3), use_bias=False, kernel_init=_draw_kernel)(x)
        x = nn.relu(nn.GroupNorm(num_groups=1)(x))
        x = nn.Conv(channels, (3, 3), kernel_init=_draw_kernel)(x)
        return nn.sigmoid(x[:, :height, :width])


class Critic(nn.Module):
    """Three 3x3 convolutions, two of which halve the picture, and two heads. Rows do not see each other.

    Attributes:
      num_bits: K.
      width: channels of the first layer.
    """

    num_bits: int
    width: int

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Scores float32 ``[B]`` and codes float32 ``[B, K]`` from -1 to 1 of images ``[B, H, W, channels]``."""
        x = images
        for layer, stride in enumerate((1, 2, 2)):
            x = nn.Conv(self.width << layer, (3, 3), strides=(stride, stride), kernel_init=_draw_kernel)(x)
            x = nn.leaky_relu(x, 0.2)
        x = x.reshape(len(x), -1)
        return nn.Dense(1, name="score")(x)[:, 0], jnp.tanh(nn.Dense(self.num_bits, name="code")(x))


@struct.dataclass
class ByteRange:
    """What the bytes 0 and 255 are after normalisation: float32 ``[channels]`` each."""

    low: Array
    high: Array


def draw_rows(batch: Batch, number: int, draw: Callable[[Array], Array]) -> Array:
    """A draw for each row ``[B, ...]``, which depends on the step, the row's number and what it is for alone."""
    key = jax.random.fold_in(batch.key, number)
    return jax.vmap(lambda row: draw(jax.random.fold_in(key, row)))(batch.rows)


def generate(params: Any, span: ByteRange, batch: Batch, number: int, settings: HashGANSettings) -> Array:
    """Normalised images ``[B, H, W, channels]`` with the labels of the batch's rows."""
    noise = draw_rows(batch, number, lambda key: jax.random.normal(key, (settings.noise_size,)))
    network = Generator(batch.inputs.shape[1:], settings.width)
    shades = network.apply({"params": params}, jnp.concatenate([noise, batch.labels], axis=1))
    low, high = (each[None, None, None, :] for each in (span.low, span.high))
    return low + (high - low) * shades


def _unit(z: Array) -> Array:
    return z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z**2, axis=1, keepdims=True), 1e-12))


def pair_loss(codes: Array, pairs: Pairs, alpha: float, axis_name: str | None) -> Array:
    """This device's share of the mean of l over pairs of the batch, see the head of this file.

    Args:
      codes: float32 ``[B, K]`` of this device's rows.
      pairs: Pairs of these rows with codes float32 ``[M, K]``.
      alpha: factor of cosines.
      axis_name: axis of the devices that share the batch; None for one.
    """
    counts = jnp.sum(pairs.weights), jnp.sum(pairs.weights * pairs.similar)
    count, num_similar = parallel.total(counts, axis_name)
    weights = 1.0 + pairs.similar * (count / jnp.maximum(num_similar, 1.0) - 1.0)
    theta = alpha * _unit(codes) @ _unit(pairs.outputs).T
    return mean_over_pairs(weights * negative_log_likelihood(theta, pairs.similar), pairs.weights, axis_name)


def pair_with_real(real: Array, batch: Batch, axis_name: str | None) -> Pairs:
    """Pairs of this device's generated rows, one beside each row of the batch, with all real rows' codes ``[B, K]``."""
    real, labels, weights = parallel.gather_rows((real, batch.labels, batch.weights), axis_name)
    return Pairs(real, share_label(batch.labels, labels), batch.weights[:, None] * weights[None, :])


def gradient_penalty(score: Callable[[Array], Array], images: Array, weights: Array, axis_name: str | None) -> Array:
    """This device's share of the mean over rows of (|d score / d image| - 1)^2.

    Args:
      score: images ``[B, H, W, channels]`` -> float32 ``[B]``, each row by itself.
      images: on the lines between real and generated ones.
      weights: float32 ``[B]``, 0 marking padding.
      axis_name: axis of the devices that share the batch; None for one.
    """
    slopes = jax.grad(lambda x: jnp.sum(score(x)))(images)
    # The root has no slope at 0.
    lengths = jnp.sqrt(jnp.sum(slopes**2, axis=(1, 2, 3)) + 1e-12)
    return weighted_mean((lengths - 1.0) ** 2, weights, axis_name)


def critic_loss(
    params: Any, generated: Array, batch: Batch, critic: Critic, settings: HashGANSettings, axis_name: str | None
) -> Array:
    """This device's share of the critic's loss; generated images ``[B, H, W, channels]`` are constants."""
    apply = lambda images: critic.apply({"params": params}, images)
    (real_scores, real_codes), (scores, codes) = apply(batch.inputs), apply(generated)
    distance = weighted_mean(scores - real_scores, batch.weights, axis_name)
    place = draw_rows(batch, _LINE, jax.random.uniform)[:, None, None, None]
    line = batch.inputs + place * (generated - batch.inputs)
    penalty = gradient_penalty(lambda x: apply(x)[0], line, batch.weights, axis_name)
    both_real = pair_loss(real_codes, pair_rows(real_codes, batch, axis_name), settings.alpha, axis_name)
    mixed = pair_with_real(jax.lax.stop_gradient(real_codes), batch, axis_name)
    mixed_loss = pair_loss(codes, mixed, settings.alpha, axis_name)
    return distance + settings.penalty_weight * penalty + both_real + mixed_loss


def generator_loss(
    params: Any, critic_params: Any, span: ByteRange, batch: Batch, critic: Critic, settings, axis_name: str | None
) -> Array:
    """This device's share of the generator's loss."""
    generated = generate(params, span, batch, _GENERATOR_NOISE, settings)
    scores, codes = critic.apply({"params": critic_params}, generated)
    _, real_codes = critic.apply({"params": critic_params}, batch.inputs)
    pairs = pair_with_real(real_codes, batch, axis_name)
    return weighted_mean(-scores, batch.weights, axis_name) + settings.generator_weight * pair_loss(
        codes, pairs, settings.alpha, axis_name
    )


@functools.partial(jax.jit, static_argnames=("generator", "critic", "num_inputs"))
def _init_networks(key: Array, images: Array, *, generator: Generator, critic: Critic, num_inputs: int) -> dict:
    generator_key, critic_key = jax.random.split(key)
    noise = jnp.zeros((1, num_inputs))
    return {
        "generator": generator.init(generator_key, noise)["params"],
        "critic": critic.init(critic_key, images)["params"],
    }


def _gan_phase(given: Ingredients) -> Phase:
    """Trains critic and generator, and hands on the generator; the metric is the critic's loss."""
    settings, critic = given.settings, Critic(given.num_bits, given.settings.width)
    optimizer = optax.adam(settings.gan_learning_rate, b1=0.0, b2=0.9)

    def init(key: Array, begin: Start) -> State:
        images = begin.prepared(begin.subset[:1])
        init_key, _ = jax.random.split(key)
        networks = {"generator": Generator(images.shape[1:], settings.width), "critic": critic}
        sizes = {"num_inputs": settings.noise_size + begin.num_classes}
        params = _init_networks(init_key, images, **networks, **sizes)
        opt_state = {name: optimizer.init(each) for name, each in params.items()}
        mean, scale = (jnp.asarray(each, jnp.float32) for each in (begin.spec.mean, begin.spec.scale))
        return State(jnp.zeros((), jnp.int32), params, opt_state, ByteRange(-mean / scale, (255.0 - mean) / scale))

    def learn(state: State, name: str, share: Callable[[Any], Array], axis_name: str | None) -> tuple[State, Array]:
        """A step of one of the networks on its share of a loss of its parameters."""
        value_and_gradient = jax.value_and_grad(share)(parallel.vary(state.params[name], axis_name))
        value, gradient = parallel.total(value_and_gradient, axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state[name])
        params = state.params | {name: optax.apply_updates(state.params[name], updates)}
        return state.replace(params=params, opt_state=state.opt_state | {name: opt_state}), value

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        generated = generate(state.params["generator"], state.extra, batch, _CRITIC_NOISE, settings)
        of_critic = lambda params: critic_loss(params, generated, batch, critic, settings, axis_name)
        state, value = learn(state, "critic", of_critic, axis_name)

        def learn_generator(state: State) -> State:
            parts = state.params["critic"], state.extra, batch, critic, settings, axis_name
            return learn(state, "generator", lambda params: generator_loss(params, *parts), axis_name)[0]

        now = (state.step + 1) % settings.critic_steps == 0
        return jax.lax.cond(now, learn_generator, lambda state: state, state), {"loss": value}

    finish = lambda state: {"generator": state.params["generator"], "low": state.extra.low, "high": state.extra.high}
    sizes = settings.gan_epochs, given.training.batch_size
    return Phase("gan", *sizes, init, step, finish=finish, max_shift=given.training.max_shift)


def _encoder_phase(given: Ingredients) -> Phase:
    settings = given.settings

    def loss(logits: Array, batch: Batch, extra: Any, axis_name: str | None) -> Array:
        codes = jnp.tanh(logits)
        real, generated = codes[: len(batch.rows)], codes[len(batch.rows) :]
        found = pair_loss(real, pair_rows(real, batch, axis_name), settings.alpha, axis_name)
        cosines = jnp.sum(_unit(jnp.abs(real)), axis=1) / math.sqrt(given.num_bits)
        found += settings.quantisation_weight * weighted_mean(1.0 - cosines, batch.weights, axis_name)
        if settings.gan:
            mixed = pair_loss(generated, pair_with_real(real, batch, axis_name), settings.alpha, axis_name)
            found += settings.generated_weight * mixed
        return found

    if not settings.gan:
        return gradient_phase(given.encoder, given.training, loss)
    phase = gradient_phase(given.encoder, given.training, loss, init_extra=lambda key, begin: dict(begin.before))

    def step(state: State, batch: Batch, key: Array, **options):
        span = ByteRange(state.extra["low"], state.extra["high"])
        images = generate(state.extra["generator"], span, batch, _ENCODER_NOISE, settings)
        return phase.step(state, batch._replace(inputs=jnp.concatenate([batch.inputs, images])), key, **options)

    return phase._replace(step=step)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """HashGAN for codes of one length."""
    phases = (_encoder_phase(given),)
    return Method((_gan_phase(given), *phases) if given.settings.gan else phases, encoder_logits(given.encoder))
