"""A trunk with learning rate 0 costs no backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
from trainings import code_batch, code_state, encoder_phase

from drlhash_jax.encoders import make_encoder
from drlhash_jax.training import TrainingSettings, gradient


def work(learning_rate):
    """Floating-point operations of a compiled training step, as the compiler counts them."""
    encoder = make_encoder("mlp", 4, hidden=(256, 256))
    inputs = np.ones((64, 256), np.float32)
    settings = TrainingSettings(optimizer="adam", learning_rate=learning_rate, head_learning_rate=0.1)
    params = encoder.init(jax.random.key(0), inputs)["params"]
    batch, extra = code_batch(jnp.asarray(inputs), jnp.ones((64, 4), jnp.uint8), jnp.ones(64))
    state = code_state(params, gradient._optimizer(settings, 1), extra)
    phase = encoder_phase(encoder, settings)
    step = lambda state, batch: phase.step(state, batch, jax.random.key(0), num_steps=1, axis_name=None)
    return jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"]


def test_a_frozen_trunk_saves_its_backward_pass():
    # Two layers forward, against two forward, two for the kernels and one for the hidden inputs.
    assert work(0.0) < 0.5 * work(0.1)
