"""Episodes of the bit-selection environment, played by a policy: sampled ones to learn from, and the most probable."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.bit_selection.actor_critic import ActorCritic, masked_policy
from drlhash_jax.bit_selection.environment import EnvParams, reset, step
from drlhash_jax.types import Array


class Episodes(NamedTuple):
    """One episode of each environment.

    Attributes:
      selected: bool ``[T, E, k]``, masks before each step.
      actions: int32 ``[T, E]``.
      log_probs: float32 ``[T, E]`` under the policy that acted.
      values: float32 ``[T, E]``.
      rewards: float32 ``[T, E]``, paid after each step: 0 but at the lengths of `EnvParams.paid_lengths`.
    """

    selected: Array
    actions: Array
    log_probs: Array
    values: Array
    rewards: Array


def rollout(
    key: Array,
    network: ActorCritic,
    params: dict,
    env: EnvParams,
    num_selected: int,
    num_envs: int,
    axis_name: str | None = None,
) -> Episodes:
    """Plays one episode in each environment with actions sampled from the policy.

    Each device plays its share of the environments; an episode does not depend on the number of devices.

    Args:
      key: PRNG key, consumed.
      network: the actor-critic.
      params: its parameters.
      env: EnvParams.
      num_selected: p.
      num_envs: E, on all devices together; a multiple of their number.
      axis_name: axis of the devices; None for one.

    Returns:
      Episodes of all environments, on every device.
    """
    start = reset(env, num_selected=num_selected)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), start)
    step_all = jax.vmap(functools.partial(step, env, num_selected=num_selected))

    def play(carry, step_key):
        states, seen = carry
        logits, values = network.apply({"params": params}, seen.observation)
        policy = masked_policy(logits, seen.action_mask)
        # What policy.sample does, with noise drawn for all environments: each has its own whatever the device count.
        noise = parallel.local_rows(jax.random.gumbel(step_key, (num_envs, env.pool_bits)), axis_name)
        actions = jnp.argmax(policy.logits + noise, axis=-1).astype(jnp.int32)
        states, after = step_all(states, actions)
        return (states, after), (seen.observation, actions, policy.log_prob(actions), values, after.reward)

    keys = jax.random.split(key, num_selected)
    _, steps = jax.lax.scan(play, parallel.local_rows(start, axis_name), keys)
    return Episodes(*parallel.gather_rows(steps, axis_name, axis=1))


def mode_order(network: ActorCritic, params: dict, env: EnvParams, num_selected: int) -> Array:
    """The policy's most probable action at every step: int32 ``[p]``."""

    # The episode's own reward is not wanted: what it is worth is computed once, by all devices together.
    unpaid = env.replace(lengths=(0,))

    def play(carry, _):
        state, seen = carry
        logits = network.apply({"params": params}, seen.observation).logits
        action = masked_policy(logits, seen.action_mask).mode()
        return step(unpaid, state, action, num_selected=num_selected), action

    _, order = jax.lax.scan(play, reset(unpaid, num_selected=num_selected), length=num_selected)
    return order
