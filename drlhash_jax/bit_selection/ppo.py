"""Proximal policy optimisation over bit-selection episodes, all on the device (thesis Alg. 3).

Rollout, reward and update are one jitted program: `train_chunk` scans over updates. The missing settings of the thesis
come from the bit-selection method that it builds on, see `PPOSettings`.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from drlhash_jax import parallel
from drlhash_jax.bit_selection.actor_critic import ActorCritic, masked_policy
from drlhash_jax.bit_selection.environment import EnvParams, action_mask, mask_of, reset, select, subset_reward
from drlhash_jax.bit_selection.returns import generalized_advantage
from drlhash_jax.settings import Settings, setting
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class PPOSettings(Settings):
    """Settings of the PPO selector."""

    num_updates: int = setting(188, "policy updates; one costs num_envs + 1 rewards", least=1, most=1_000_000)
    num_envs: int = setting(16, "E, episodes an update, on all devices together", least=1, most=65_536)
    num_epochs: int = setting(8, "passes over the episodes of an update", least=1, most=1_000)
    num_minibatches: int = setting(4, "minibatches per pass", least=1, most=65_536)
    learning_rate: float = setting(1e-3, "of Adam, falling linearly to 0", least=0.0, most=1e3)
    clip_epsilon: float = setting(0.2, "bound on the change of the probability ratio", least=0.0, most=1e3)
    discount: float = setting(1.0, "gamma", least=0.0, most=1.0)
    gae_lambda: float = setting(0.9, "lambda of the generalised advantage", least=0.0, most=1.0)
    entropy_cost: float = setting(0.05, "weight of the entropy bonus, falling linearly to 0", least=0.0, most=1e3)
    value_cost: float = setting(0.5, "weight of the value loss", least=0.0, most=1e3)
    target_kl: float = setting(0.1, "KL from the old policy that ends an update's passes", least=0.0, most=1e9)
    max_gradient_norm: float = setting(0.5, "norm to which gradients are clipped", least=0.0, most=1e9)


class Episodes(NamedTuple):
    """One episode of each environment.

    Attributes:
      selected: bool ``[T, E, k]``, masks before each step.
      actions: int32 ``[T, E]``.
      log_probs: float32 ``[T, E]`` under the policy that acted.
      values: float32 ``[T, E]``.
      rewards: float32 ``[E]``, paid at the last step.
    """

    selected: Array
    actions: Array
    log_probs: Array
    values: Array
    rewards: Array


class Minibatch(NamedTuple):
    """Steps that a gradient is taken over; every field has the leading axis ``[M]``."""

    selected: Array
    actions: Array
    log_probs: Array
    advantages: Array
    returns: Array


class UpdateMetrics(NamedTuple):
    """What one update reports; float32 scalars, ``[U]`` when scanned.

    Attributes:
      mean_reward: over the episodes of the update.
      max_reward: the best of them.
      mode_reward: of the most probable episode after the update.
      best_reward: the best of all rewards so far.
      entropy: of the policy, mean over steps.
      kl: from the old policy to the new, at the last minibatch that was used.
      policy_loss: last minibatch.
      value_loss: last minibatch.
    """

    mean_reward: Array
    max_reward: Array
    mode_reward: Array
    best_reward: Array
    entropy: Array
    kl: Array
    policy_loss: Array
    value_loss: Array


@struct.dataclass
class PPOState:
    """Everything that training changes.

    Attributes:
      update: int32 scalar, updates done.
      params: of the actor-critic.
      opt_state: of the optimiser.
      reward_mean: float32 scalar, of the first update's episodes.
      reward_std: float32 scalar, likewise. Rewards of random subsets differ in the second decimal, so the critic
        learns them as standard scores; in the raw unit its gradients would drown.
      best_reward: float32 scalar, best reward of any episode, sampled or most probable.
      best_order: int32 ``[p]``, its actions.
    """

    update: Array
    params: dict
    opt_state: tuple
    reward_mean: Array
    reward_std: Array
    best_reward: Array
    best_order: Array


def _optimizer(settings: PPOSettings) -> optax.GradientTransformation:
    num_steps = settings.num_updates * settings.num_epochs * settings.num_minibatches
    schedule = optax.linear_schedule(settings.learning_rate, 0.0, num_steps)
    return optax.chain(optax.clip_by_global_norm(settings.max_gradient_norm), optax.adam(schedule, eps=1e-5))


def init_state(key: Array, env: EnvParams, num_selected: int, settings: PPOSettings) -> PPOState:
    """The state before the first update; the key is consumed."""
    network = ActorCritic(env.pool_bits)
    params = network.init(key, reset(env).selected)["params"]
    return PPOState(
        update=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=_optimizer(settings).init(params),
        reward_mean=jnp.zeros(()),
        reward_std=jnp.ones(()),
        best_reward=jnp.full((), -jnp.inf, jnp.float32),
        best_order=jnp.zeros(num_selected, jnp.int32),
    )


def rollout(
    key: Array, params: dict, env: EnvParams, num_selected: int, num_envs: int, axis_name: str | None = None
) -> Episodes:
    """Plays one episode in each environment with actions sampled from the policy.

    All episodes end together, so the reward is computed once, after the last step. Each device plays its share of the
    environments; an episode does not depend on the number of devices.

    Args:
      key: PRNG key, consumed.
      params: of the actor-critic.
      env: EnvParams.
      num_selected: p.
      num_envs: E, on all devices together; a multiple of their number.
      axis_name: axis of the devices; None for one.

    Returns:
      Episodes of all environments, on every device.
    """
    network = ActorCritic(env.pool_bits)
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *x.shape)), reset(env))
    states = parallel.local_rows(start, axis_name)

    def play(states, step_key):
        logits, values = network.apply({"params": params}, states.selected)
        legal = jax.vmap(action_mask, in_axes=(0, None))(states, num_selected)
        policy = masked_policy(logits, legal)
        # What policy.sample does, with noise drawn for all environments: each has its own whatever the device count.
        noise = parallel.local_rows(jax.random.gumbel(step_key, (num_envs, env.pool_bits)), axis_name)
        actions = jnp.argmax(policy.logits + noise, axis=-1).astype(jnp.int32)
        after = jax.vmap(select, in_axes=(0, 0, None))(states, actions, num_selected)
        return after, (states.selected, actions, policy.log_prob(actions), values)

    states, (selected, actions, log_probs, values) = jax.lax.scan(play, states, jax.random.split(key, num_selected))
    # A loop over environments, not a vmap: one histogram at a time stays in cache.
    rewards = jax.lax.map(lambda mask: subset_reward(env, mask), states.selected)
    rewards = parallel.gather_rows(rewards, axis_name)
    return Episodes(*parallel.gather_rows((selected, actions, log_probs, values), axis_name, axis=1), rewards)


def mode_order(params: dict, env: EnvParams, num_selected: int) -> Array:
    """The policy's most probable action at every step: int32 ``[p]``."""
    network = ActorCritic(env.pool_bits)

    def play(state, _):
        logits = network.apply({"params": params}, state.selected).logits
        action = masked_policy(logits, action_mask(state, num_selected)).mode()
        return select(state, action, num_selected), action

    _, order = jax.lax.scan(play, reset(env), length=num_selected)
    return order


def advantages_and_returns(episodes: Episodes, scores: Array, settings: PPOSettings) -> tuple[Array, Array]:
    """Advantages and value targets; the last step of an episode is terminal.

    Args:
      episodes: Episodes.
      scores: float32 ``[E]``, the episodes' rewards in the unit of the critic.
      settings: PPOSettings.

    Returns:
      Advantages and returns, float32 ``[T, E]`` each.
    """
    num_steps = episodes.values.shape[0]
    last = jnp.arange(num_steps) == num_steps - 1
    discount_t = jnp.where(last, 0.0, settings.discount)

    def one(values, reward):
        after = jnp.append(values[1:], 0.0)
        return generalized_advantage(jnp.where(last, reward, 0.0), discount_t, values, after, settings.gae_lambda)

    advantages = jax.vmap(one, in_axes=(1, 0), out_axes=1)(episodes.values, scores)
    return advantages, advantages + episodes.values


def ppo_loss(
    params: dict, batch: Minibatch, *, network: ActorCritic, settings: PPOSettings
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """Clipped surrogate, value and entropy losses (Schulman et al. 2017, Eq. 7 and 9).

    Args:
      params: of the actor-critic.
      batch: Minibatch of M steps.
      network: the actor-critic.
      settings: PPOSettings.

    Returns:
      The loss, and (policy loss, value loss, entropy, KL from the old policy); float32 scalars. The KL is the
      estimator mean((ratio - 1) - log ratio), which is never negative.
    """
    logits, values = network.apply({"params": params}, batch.selected)
    # A step was taken from every one of these states, so no episode is over and every unselected bit is legal.
    policy = masked_policy(logits, ~batch.selected)
    log_ratio = policy.log_prob(batch.actions) - batch.log_probs
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - settings.clip_epsilon, 1 + settings.clip_epsilon)
    policy_loss = -jnp.mean(jnp.minimum(ratio * batch.advantages, clipped * batch.advantages))
    value_loss = 0.5 * jnp.mean(jnp.square(values - batch.returns))
    entropy = jnp.mean(policy.entropy())
    kl = jnp.mean(ratio - 1.0 - log_ratio)
    loss = policy_loss + settings.value_cost * value_loss - settings.entropy_cost * entropy
    return loss, (policy_loss, value_loss, entropy, kl)


def loss_and_gradient(
    params: dict, batch: Minibatch, *, network: ActorCritic, settings: PPOSettings, axis_name: str | None = None
) -> tuple[tuple[Array, Array, Array, Array], dict]:
    """Parts of a minibatch's loss, and the gradient of the whole; the same on all devices, whatever their number.

    Args:
      params: of the actor-critic.
      batch: Minibatch, this device's equal share of its steps.
      network: the actor-critic.
      settings: PPOSettings.
      axis_name: axis of the devices; None for one.

    Returns:
      (policy loss, value loss, entropy, KL), float32 scalars, and the gradient.
    """
    loss = functools.partial(ppo_loss, network=network, settings=settings)
    (_, aux), gradient = jax.value_and_grad(loss, has_aux=True)(parallel.vary(params, axis_name), batch)
    num_shards = parallel.num_shards(axis_name)
    # Shares are equal, so the mean over all steps is the mean of the devices' means.
    return jax.tree.map(lambda x: x / num_shards, parallel.total((aux, gradient), axis_name))


def _minibatches(
    key: Array, episodes: Episodes, advantages: Array, returns: Array, count: int, axis_name: str | None
) -> Minibatch:
    """A random division of all steps into minibatches, advantages normalised over all.

    Args:
      key: PRNG key, consumed; the same on all devices.
      episodes: Episodes of all environments.
      advantages: float32 ``[T, E]``.
      returns: float32 ``[T, E]``.
      count: number of minibatches.
      axis_name: axis of the devices; None for one.

    Returns:
      Minibatch with fields ``[count, M, ...]``: this device's share of the steps of every minibatch.
    """
    normalised = (advantages - jnp.mean(advantages)) / (jnp.std(advantages) + 1e-8)
    steps = Minibatch(episodes.selected, episodes.actions, episodes.log_probs, normalised, returns)
    steps = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    num_steps = steps.actions.shape[0]
    order = jax.random.permutation(key, num_steps)[: num_steps // count * count].reshape(count, -1)
    order = parallel.local_rows(order, axis_name, axis=1)
    return jax.tree.map(lambda x: x[order], steps)


def _learn(
    epoch_keys: Array,
    state: PPOState,
    episodes: Episodes,
    advantages: Array,
    returns: Array,
    *,
    network: ActorCritic,
    settings: PPOSettings,
    axis_name: str | None,
) -> tuple[dict, tuple, tuple[Array, Array, Array, Array]]:
    """The passes over one update's steps: new parameters, optimiser state and (policy loss, value loss, entropy, KL).

    Once the KL of a minibatch, mean over all devices, exceeds the limit, nothing changes any more.
    """
    optimizer = _optimizer(settings)

    def learn(carry, batch):
        params, opt_state, stopped, last = carry
        aux, gradient = loss_and_gradient(params, batch, network=network, settings=settings, axis_name=axis_name)
        stopped |= aux[3] > settings.target_kl
        updates, next_opt_state = optimizer.update(gradient, opt_state, params)
        stepped = (optax.apply_updates(params, updates), next_opt_state, aux)
        params, opt_state, last = jax.tree.map(
            lambda new, old: jnp.where(stopped, old, new), stepped, (params, opt_state, last)
        )
        return (params, opt_state, stopped, last), None

    def epoch(carry, epoch_key):
        batches = _minibatches(epoch_key, episodes, advantages, returns, settings.num_minibatches, axis_name)
        return jax.lax.scan(learn, carry, batches)

    carry = state.params, state.opt_state, jnp.zeros((), bool), (jnp.zeros(()),) * 4
    (params, opt_state, _, last), _ = jax.lax.scan(epoch, carry, epoch_keys)
    return params, opt_state, last


def update(
    key: Array,
    state: PPOState,
    env: EnvParams,
    *,
    num_selected: int,
    settings: PPOSettings,
    axis_name: str | None = None,
) -> tuple[PPOState, UpdateMetrics]:
    """One update: an episode of each environment, the passes over their steps, and the policy's most probable episode.

    The last is not learnt from; it costs one reward, and it is usually ahead of what sampling finds. Devices share the
    environments, the steps of each minibatch, and the queries of the last reward.

    Args:
      key: PRNG key, consumed.
      state: PPOState, the same on all devices.
      env: EnvParams, likewise.
      num_selected: p.
      settings: PPOSettings; environments and steps of a minibatch divide by the number of devices.
      axis_name: axis of the devices; None for one.

    Returns:
      The next state and UpdateMetrics.
    """
    rollout_key, *epoch_keys = jax.random.split(key, settings.num_epochs + 1)
    episodes = rollout(rollout_key, state.params, env, num_selected, settings.num_envs, axis_name)
    first = state.update == 0
    reward_mean = jnp.where(first, jnp.mean(episodes.rewards), state.reward_mean)
    # One environment has no spread: a hundredth of the reward stands in for it.
    spread = jnp.maximum(jnp.std(episodes.rewards), 0.01 * jnp.abs(reward_mean) + 1e-6)
    reward_std = jnp.where(first, spread, state.reward_std)
    scores = (episodes.rewards - reward_mean) / reward_std
    steps = episodes, *advantages_and_returns(episodes, scores, settings)
    remaining = 1.0 - state.update / settings.num_updates
    annealed = settings.replace(entropy_cost=settings.entropy_cost * remaining)
    shared = {"network": ActorCritic(env.pool_bits), "settings": annealed, "axis_name": axis_name}
    params, opt_state, (policy_loss, value_loss, entropy, kl) = _learn(jnp.stack(epoch_keys), state, *steps, **shared)
    best_reward, best_order = state.best_reward, state.best_order
    top = jnp.argmax(episodes.rewards)
    mode = mode_order(params, env, num_selected)
    mode_reward = subset_reward(env, mask_of(mode, env.pool_bits), axis_name)
    for reward, order in ((episodes.rewards[top], episodes.actions[:, top]), (mode_reward, mode)):
        best_order = jnp.where(reward > best_reward, order, best_order)
        best_reward = jnp.maximum(reward, best_reward)
    next_state = PPOState(state.update + 1, params, opt_state, reward_mean, reward_std, best_reward, best_order)
    metrics = UpdateMetrics(
        mean_reward=jnp.mean(episodes.rewards),
        max_reward=episodes.rewards[top],
        mode_reward=mode_reward,
        best_reward=best_reward,
        entropy=entropy,
        kl=kl,
        policy_loss=policy_loss,
        value_loss=value_loss,
    )
    return next_state, metrics


def update_repeatedly(
    key: Array,
    state: PPOState,
    env: EnvParams,
    *,
    num_selected: int,
    num_updates: int,
    settings: PPOSettings,
    axis_name: str | None = None,
) -> tuple[PPOState, UpdateMetrics]:
    """Several updates as a scan: the body of `train_chunk`."""

    def one(state, _):
        step_key = jax.random.fold_in(key, state.update)
        return update(step_key, state, env, num_selected=num_selected, settings=settings, axis_name=axis_name)

    return jax.lax.scan(one, state, length=num_updates)


def train_chunk(
    key: Array,
    state: PPOState,
    env: EnvParams,
    *,
    num_selected: int,
    num_updates: int,
    settings: PPOSettings,
    devices: parallel.Devices | None = None,
) -> tuple[PPOState, UpdateMetrics]:
    """Several updates as one compiled program.

    Args:
      key: PRNG key of the whole training, the same in every call: update u uses fold_in(key, u).
      state: PPOState, donated.
      env: EnvParams.
      num_selected: p.
      num_updates: U, updates in this call.
      settings: PPOSettings.
      devices: that share the work; None for the default device.

    Returns:
      The state after U updates, and UpdateMetrics with fields ``[U]``.
    """
    static = {"num_selected": num_selected, "num_updates": num_updates, "settings": settings}
    return parallel.wrap_step(update_repeatedly, devices, donate_argnums=(1,), **static)(key, state, env)
