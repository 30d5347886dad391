"""Proximal policy optimisation over bit-selection episodes, all on the device (thesis Alg. 3).

Episodes, rewards and updates are one compiled program: `train_chunk` scans over updates. The thesis leaves most
settings open; the defaults of `PPOSettings` are those that found the highest rewards on three pools.
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
from drlhash_jax.bit_selection.environment import EnvParams, prefix_rewards, reset
from drlhash_jax.bit_selection.episodes import Episodes, mode_order, rollout
from drlhash_jax.bit_selection.returns import generalized_advantage
from drlhash_jax.settings import Settings, setting
from drlhash_jax.types import Array


@dataclasses.dataclass(frozen=True)
class PPOSettings(Settings):
    """Settings of the PPO selector."""

    hidden: tuple[int, ...] = setting((64,), "widths of the hidden layers of the policy, and of the critic")
    num_updates: int = setting(188, "policy updates; one costs num_envs + 1 rewards", least=1, most=1_000_000)
    num_envs: int = setting(16, "E, episodes per update, on all devices together", least=1, most=65_536)
    num_epochs: int = setting(8, "passes over the episodes of an update", least=1, most=1_000)
    num_minibatches: int = setting(4, "minibatches per pass", least=1, most=65_536)
    learning_rate: float = setting(
        1e-3, "of Adam in the first update; falls linearly to 0, update by update", least=0.0, most=10.0
    )
    clip_epsilon: float = setting(0.2, "bound on the change of the probability ratio", least=0.0, most=100.0)
    discount: float = setting(1.0, "gamma", least=0.0, most=1.0)
    gae_lambda: float = setting(0.9, "lambda of the generalised advantage", least=0.0, most=1.0)
    entropy_cost: float = setting(
        0.1, "weight of the entropy bonus in the first update; falls like learning_rate", least=0.0, most=1e3
    )
    value_cost: float = setting(0.5, "weight of the value loss", least=0.0, most=1e3)
    target_kl: float = setting(0.1, "KL from the old policy that ends an update's passes", least=0.0, most=1e9)
    max_gradient_norm: float = setting(0.5, "norm to which gradients are clipped", least=1e-6, most=1e9)
    population: int = setting(16, "trainings that selector population begins with", least=1, most=65_536)


class Minibatch(NamedTuple):
    """Steps that a gradient is taken over; every field has the leading axis ``[M]``."""

    selected: Array
    actions: Array
    log_probs: Array
    advantages: Array
    returns: Array


class Losses(NamedTuple):
    """Parts of the loss of a minibatch; float32 scalars.

    Attributes:
      policy: clipped surrogate.
      value: half the mean squared error of the critic.
      entropy: of the policy, mean over steps.
      kl: from the policy that acted to this one, by the estimator mean((ratio - 1) - log ratio), never negative.
    """

    policy: Array
    value: Array
    entropy: Array
    kl: Array


class Rates(NamedTuple):
    """What falls linearly from its setting in the first update to 0 after the last; float32 scalars.

    Attributes:
      learning_rate: of Adam.
      entropy_cost: weight of the entropy bonus.
    """

    learning_rate: Array
    entropy_cost: Array


class UpdateMetrics(NamedTuple):
    """What one update reports; float32 scalars, ``[U]`` when scanned.

    Attributes:
      mean_reward: over the episodes of the update; a reward here is what a whole episode is paid.
      max_reward: the best of them.
      mode_reward: of the most probable episode after the update.
      best_reward: the best of all rewards so far.
      entropy: of the policy, mean over the steps of the last minibatch that was learnt from.
      kl: from the policy that acted to the new one, on that minibatch.
      policy_loss: on that minibatch.
      value_loss: on that minibatch.
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
      rates: Rates of the first update; those of a member of a population are its own.
      reward_mean: float32 ``[T]``, what the first update's episodes were paid after each step, on average.
      reward_std: float32 scalar, deviation of the whole reward of the same episodes. Rewards of random subsets differ
        in the second decimal, so the critic learns them as standard scores; in the raw unit its gradients would drown.
      last_mean: float32 scalar, mean reward of the last update's episodes.
      best_reward: float32 scalar, best reward of any episode, sampled or most probable.
      best_order: int32 ``[p]``, its actions.
      best_update: int32 scalar, the update in which it was played.
      best_is_mode: bool scalar, whether it was the most probable one.
    """

    update: Array
    params: dict
    opt_state: tuple
    rates: Rates
    reward_mean: Array
    reward_std: Array
    last_mean: Array
    best_reward: Array
    best_order: Array
    best_update: Array
    best_is_mode: Array


def _optimizer(settings: PPOSettings) -> optax.GradientTransformation:
    """Clipping and Adam's direction; the learning rate is applied apart, since it follows the number of the update."""
    return optax.chain(optax.clip_by_global_norm(settings.max_gradient_norm), optax.scale_by_adam(eps=1e-5))


def rates_of(state: PPOState, num_updates: int) -> Rates:
    """Rates of update u = 0 .. U - 1: the share 1 - u/U of those of the first.

    By the number of the update, not by that of the optimiser's steps: those are fewer where `target_kl` ends the passes
    early, and a schedule over all that could have been would stop far above 0.

    Args:
      state: PPOState before update u.
      num_updates: U.

    Returns:
      Rates.
    """
    remaining = 1.0 - state.update / num_updates
    return jax.tree.map(lambda first: first * remaining, state.rates)


def _network(env: EnvParams, settings: PPOSettings) -> ActorCritic:
    return ActorCritic(env.pool_bits, settings.hidden)


def init_state(key: Array, env: EnvParams, num_selected: int, settings: PPOSettings) -> PPOState:
    """The state before the first update; the key is consumed."""
    _, first = reset(env, num_selected=num_selected)
    params = _network(env, settings).init(key, first.observation)["params"]
    learning = {"params": params, "opt_state": _optimizer(settings).init(params)}
    rates = Rates(jnp.float32(settings.learning_rate), jnp.float32(settings.entropy_cost))
    unit = {"reward_mean": jnp.zeros(num_selected), "reward_std": jnp.ones(()), "last_mean": jnp.zeros(())}
    best = {
        "best_reward": jnp.full((), -jnp.inf, jnp.float32),
        "best_order": jnp.zeros(num_selected, jnp.int32),
        "best_update": jnp.zeros((), jnp.int32),
        "best_is_mode": jnp.zeros((), bool),
    }
    return PPOState(update=jnp.zeros((), jnp.int32), rates=rates, **learning, **unit, **best)


def advantages_and_returns(episodes: Episodes, scores: Array, settings: PPOSettings) -> tuple[Array, Array]:
    """Advantages and value targets; the last step of an episode is terminal.

    Args:
      episodes: Episodes.
      scores: float32 ``[T, E]``, the episodes' rewards in the unit of the critic.
      settings: PPOSettings.

    Returns:
      Advantages and returns, float32 ``[T, E]`` each.
    """
    num_steps = episodes.values.shape[0]
    last = jnp.arange(num_steps) == num_steps - 1
    discount_t = jnp.where(last, 0.0, settings.discount)

    def one(values, r_t):
        return generalized_advantage(r_t, discount_t, values, jnp.append(values[1:], 0.0), settings.gae_lambda)

    advantages = jax.vmap(one, in_axes=1, out_axes=1)(episodes.values, scores)
    return advantages, advantages + episodes.values


def ppo_loss(
    params: dict, batch: Minibatch, entropy_cost: Array, *, network: ActorCritic, settings: PPOSettings
) -> tuple[Array, Losses]:
    """Clipped surrogate, value and entropy losses (Schulman et al. 2017, Eq. 7 and 9).

    Args:
      params: of the actor-critic.
      batch: Minibatch of M steps.
      entropy_cost: float32 scalar, weight of the entropy bonus in this update.
      network: the actor-critic.
      settings: PPOSettings.

    Returns:
      The loss, float32 scalar, and its parts.
    """
    logits, values = network.apply({"params": params}, batch.selected)
    # A step was taken from every one of these states, so no episode is over and every unselected bit is legal.
    policy = masked_policy(logits, ~batch.selected)
    log_ratio = policy.log_prob(batch.actions) - batch.log_probs
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1 - settings.clip_epsilon, 1 + settings.clip_epsilon)
    losses = Losses(
        policy=-jnp.mean(jnp.minimum(ratio * batch.advantages, clipped * batch.advantages)),
        value=0.5 * jnp.mean(jnp.square(values - batch.returns)),
        entropy=jnp.mean(policy.entropy()),
        kl=jnp.mean(ratio - 1.0 - log_ratio),
    )
    return losses.policy + settings.value_cost * losses.value - entropy_cost * losses.entropy, losses


def loss_and_gradient(
    params: dict,
    batch: Minibatch,
    entropy_cost: Array,
    *,
    network: ActorCritic,
    settings: PPOSettings,
    axis_name: str | None = None,
) -> tuple[Losses, dict]:
    """Parts of a minibatch's loss, and the gradient of the whole; the same on all devices, whatever their number.

    Args:
      params: of the actor-critic.
      batch: Minibatch, this device's equal share of its steps.
      entropy_cost: float32 scalar, see `ppo_loss`.
      network: the actor-critic.
      settings: PPOSettings.
      axis_name: axis of the devices; None for one.

    Returns:
      Losses and the gradient.
    """
    loss = functools.partial(ppo_loss, network=network, settings=settings)
    (_, losses), gradient = jax.value_and_grad(loss, has_aux=True)(
        parallel.vary(params, axis_name), batch, entropy_cost
    )
    num_shards = parallel.num_shards(axis_name)
    # Shares are equal, so the mean over all steps is the mean of the devices' means.
    return jax.tree.map(lambda x: x / num_shards, parallel.total((losses, gradient), axis_name))


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
    rates: Rates,
    settings: PPOSettings,
    axis_name: str | None,
) -> tuple[dict, tuple, Losses]:
    """The passes over one update's steps: new parameters, optimiser state, and the last Losses that were learnt from.

    Once the KL of a minibatch, mean over all devices, exceeds the limit, nothing changes any more.
    """
    optimizer = _optimizer(settings)
    static = {"network": network, "settings": settings, "axis_name": axis_name}

    def learn(carry, batch):
        params, opt_state, stopped, last = carry
        losses, gradient = loss_and_gradient(params, batch, rates.entropy_cost, **static)
        stopped |= losses.kl > settings.target_kl
        direction, next_opt_state = optimizer.update(gradient, opt_state)
        moved = jax.tree.map(lambda p, d: p - rates.learning_rate * d, params, direction)
        params, opt_state, last = jax.tree.map(
            lambda new, old: jnp.where(stopped, old, new), (moved, next_opt_state, losses), (params, opt_state, last)
        )
        return (params, opt_state, stopped, last), None

    def epoch(carry, epoch_key):
        batches = _minibatches(epoch_key, episodes, advantages, returns, settings.num_minibatches, axis_name)
        return jax.lax.scan(learn, carry, batches)

    carry = state.params, state.opt_state, jnp.zeros((), bool), Losses(*(jnp.zeros(()),) * 4)
    (params, opt_state, _, last), _ = jax.lax.scan(epoch, carry, epoch_keys)
    return params, opt_state, last


def _reward_unit(state: PPOState, rewards: Array) -> tuple[Array, Array]:
    """Mean ``[T]`` and deviation of the first update's rewards ``[T, E]``, from which all later ones are measured."""
    first = state.update == 0
    mean = jnp.where(first, jnp.mean(rewards, axis=1), state.reward_mean)
    # One environment has no spread: a hundredth of the reward stands in for it.
    spread = jnp.maximum(jnp.std(jnp.sum(rewards, axis=0)), 0.01 * jnp.abs(jnp.sum(mean)) + 1e-6)
    return mean, jnp.where(first, spread, state.reward_std)


def _keep_best(state: PPOState, reward: Array, order: Array, is_mode: bool) -> PPOState:
    """The state with this episode of its update as the best one, if it is."""
    better = reward > state.best_reward
    found = {"best_reward": reward, "best_order": order, "best_update": state.update, "best_is_mode": is_mode}
    return state.replace(**{name: jnp.where(better, new, getattr(state, name)) for name, new in found.items()})


def has_stalled(state: PPOState, settings: PPOSettings) -> bool:
    """Whether the last update's episodes are no better than those of the untrained policy, by two standard errors."""
    error = float(state.reward_std) / settings.num_envs**0.5
    return float(state.last_mean) <= float(jnp.sum(state.reward_mean)) + 2.0 * error


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
      env: EnvParams, the same on all devices.
      num_selected: p.
      settings: PPOSettings; environments and steps of a minibatch divide by the number of devices.
      axis_name: axis of the devices; None for one.

    Returns:
      The next state and UpdateMetrics.
    """
    network = _network(env, settings)
    rollout_key, *epoch_keys = jax.random.split(key, settings.num_epochs + 1)
    episodes = rollout(rollout_key, network, state.params, env, num_selected, settings.num_envs, axis_name)
    reward_mean, reward_std = _reward_unit(state, episodes.rewards)
    scores = (episodes.rewards - reward_mean[:, None]) / reward_std
    steps = episodes, *advantages_and_returns(episodes, scores, settings)
    rates = rates_of(state, settings.num_updates)
    shared = {"network": network, "rates": rates, "settings": settings, "axis_name": axis_name}
    params, opt_state, losses = _learn(jnp.stack(epoch_keys), state, *steps, **shared)
    rewards = jnp.sum(episodes.rewards, axis=0)
    top = jnp.argmax(rewards)
    mode = mode_order(network, params, env, num_selected)
    mode_reward = jnp.mean(prefix_rewards(env, mode, env.paid_lengths(num_selected), axis_name))
    state = _keep_best(state, rewards[top], episodes.actions[:, top], is_mode=False)
    state = _keep_best(state, mode_reward, mode, is_mode=True)
    metrics = UpdateMetrics(
        mean_reward=jnp.mean(rewards),
        max_reward=rewards[top],
        mode_reward=mode_reward,
        best_reward=state.best_reward,
        entropy=losses.entropy,
        kl=losses.kl,
        policy_loss=losses.policy,
        value_loss=losses.value,
    )
    learnt = {"update": state.update + 1, "params": params, "opt_state": opt_state}
    unit = {"reward_mean": reward_mean, "reward_std": reward_std, "last_mean": metrics.mean_reward}
    return state.replace(**learnt, **unit), metrics


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
