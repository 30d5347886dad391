"""Advantages of one trajectory."""

import chex
import jax
import jax.numpy as jnp

from drlhash_jax.types import Array


def generalized_advantage(r_t: Array, discount_t: Array, v_tm1: Array, v_t: Array, lambda_: float) -> Array:
    """Generalised advantage estimation, A_t = delta_t + discount_t lambda A_{t+1} (Schulman et al., ICLR 2016).

    Args:
      r_t: float32 ``[T]``, reward of each step.
      discount_t: float32 ``[T]``, gamma, or 0 where the step ends the episode.
      v_tm1: float32 ``[T]``, value of the state before each step.
      v_t: float32 ``[T]``, value of the state after each step.
      lambda_: lambda in [0, 1].

    Returns:
      float32 ``[T]``.
    """
    chex.assert_rank([r_t, discount_t, v_tm1, v_t], 1)
    chex.assert_equal_shape([r_t, discount_t, v_tm1, v_t])
    delta_t = r_t + discount_t * v_t - v_tm1

    def backward(advantage, step):
        delta, discount = step
        advantage = delta + discount * lambda_ * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(backward, jnp.zeros((), delta_t.dtype), (delta_t, discount_t), reverse=True)
    return advantages
