"""Selectors that learn a policy: PPO, a population of such trainings, and plain policy gradient."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.bit_selection import ppo
from drlhash_jax.bit_selection.environment import EnvParams
from drlhash_jax.training.loop import run_chunks
from drlhash_jax.types import NO_CHECKPOINT, Array, BitSelection, Checkpoint

OnCall = Callable[[int, ppo.UpdateMetrics], None]
# After each round of a population the best of this many members goes on.
_HALVING = 4


def updates_per_call(num_updates: int) -> int:
    """Updates in one call of the compiled program: the largest divisor up to 10, so that all calls are alike."""
    return max(size for size in range(1, 11) if num_updates % size == 0)


def _describe(best: ppo.PPOState, settings: ppo.PPOSettings) -> str:
    """How the best set was found, in words."""
    kind = "most probable" if bool(best.best_is_mode) else "sampled"
    seen = f"{kind} set of update {int(best.best_update) + 1} of {settings.num_updates}"
    if ppo.has_stalled(best, settings):
        return f"learning stalled: the best set seen, {seen}"
    return f"best set seen: {seen}"


def _follow(
    keyed: tuple[Array, ppo.PPOState],
    env: EnvParams,
    settings: ppo.PPOSettings,
    call: Callable[[Array, ppo.PPOState, EnvParams, int, int], tuple[ppo.PPOState, ppo.UpdateMetrics]],
    next_stop: Callable[[int], int],
    watch: tuple[OnCall, parallel.Devices | None, Checkpoint],
) -> ppo.PPOState:
    """All updates of a training, or those that an earlier process left: the last state, on one device.

    Args:
      keyed: key of the whole training, and the state before the first update; its leaves may have a leading axis.
      env: EnvParams.
      settings: PPOSettings.
      call: (key, state, env, updates done, updates to stop before) -> state and metrics, a call of a compiled program.
      next_stop: updates done -> updates done after the next call.
      watch: on_call, devices and checkpoint, see `select_ppo`.
    """
    (key, state), (on_call, devices, checkpoint) = keyed, watch
    key_data, state = checkpoint.restore((jax.random.key_data(key), state))
    key = jax.random.wrap_key_data(jnp.asarray(key_data))
    state, env = parallel.replicate((state, env), devices)

    def advance(state: ppo.PPOState, position: int, stop: int) -> tuple[ppo.PPOState, Mapping[str, np.ndarray]]:
        state, metrics = call(key, state, env, position, stop)
        return state, jax.tree.map(np.asarray, parallel.fetch(metrics, devices))._asdict()

    state = run_chunks(
        advance,
        state,
        # Members of a population that ended early have fewer.
        position=int(jnp.max(parallel.fetch(state.update, devices))),
        total=settings.num_updates,
        next_stop=next_stop,
        describe=lambda update: f"in update {update}, last minibatch",
        report=lambda done, metrics: on_call(done, ppo.UpdateMetrics(**metrics)),
        offer=lambda done, state: checkpoint.offer(done, (key_data, state)),
    )
    return parallel.fetch(state, devices)


def _selection(
    best: ppo.PPOState, env: EnvParams, num_selected: int, settings: ppo.PPOSettings, num_updates: int
) -> BitSelection:
    """What a training found in a number of updates, those of all members together."""
    evaluations = num_updates * (settings.num_envs + 1) * len(env.paid_lengths(num_selected))
    return BitSelection(best.best_order, best.best_reward, evaluations, _describe(best, settings))


def select_ppo(
    key: Array,
    env: EnvParams,
    num_selected: int,
    settings: ppo.PPOSettings,
    on_call: OnCall = lambda done, metrics: None,
    devices: parallel.Devices | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> BitSelection:
    """The best subset that PPO has played, sampled or most probable (thesis Alg. 3).

    Args:
      key: PRNG key, consumed.
      env: EnvParams.
      num_selected: p.
      settings: PPOSettings.
      on_call: called after each call of the compiled program with the number of updates done so far and the
        UpdateMetrics ``[U]`` of that call, arrays of NumPy.
      devices: that share environments, minibatches and queries, see `ppo.update`; None for the default device.
      checkpoint: asked after each call of the compiled program, see `Checkpoint`.

    Returns:
      BitSelection.

    Raises:
      FloatingPointError: a reward or a loss stopped being a finite number.
    """
    init_key, train_key = jax.random.split(key)
    size = updates_per_call(settings.num_updates)
    static = {"num_selected": num_selected, "num_updates": size, "settings": settings, "devices": devices}
    best = _follow(
        (train_key, ppo.init_state(init_key, env, num_selected, settings)),
        env,
        settings,
        lambda key, state, env, position, stop: ppo.train_chunk(key, state, env, **static),
        lambda position: position + size,
        (on_call, devices, checkpoint),
    )
    return _selection(best, env, num_selected, settings, settings.num_updates)


def policy_gradient_settings(settings: ppo.PPOSettings) -> ppo.PPOSettings:
    """Settings under which PPO is REINFORCE with a critic as baseline (Williams, Machine Learning 1992).

    One step per update on all of its episodes: the probability ratio is 1 there, where the clipped surrogate's gradient
    is that of the policy gradient. Advantages are whole returns, and the rate is ten times that of PPO, which takes
    many steps per update.
    """
    one_step = settings.replace(num_epochs=1, num_minibatches=1, gae_lambda=1.0, target_kl=1e9)
    return one_step.replace(learning_rate=min(10.0 * settings.learning_rate, 10.0))


def round_sizes(population: int) -> list[int]:
    """Members of each round of successive halving: all, then a quarter of them, down to one."""
    sizes = [population]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] // _HALVING))
    return sizes


def _round_ends(num_updates: int, num_rounds: int) -> list[int]:
    """Updates done after each round; a round has one at least, as long as there are any."""
    return [-(-num_updates * (place + 1) // num_rounds) for place in range(num_rounds)]


def _init_population(key: Array, env: EnvParams, num_selected: int, settings: ppo.PPOSettings) -> ppo.PPOState:
    """States of all members, every leaf with a leading axis: the first has the settings' own rates, the others draw."""
    rate_key, *keys = jax.random.split(key, settings.population + 1)
    states = jax.vmap(lambda key: ppo.init_state(key, env, num_selected, settings))(jnp.stack(keys))
    # Between a quarter and four times of the settings, evenly in the logarithm.
    factors = 4.0 ** jax.random.uniform(rate_key, (2, settings.population), minval=-1.0, maxval=1.0)
    factors = factors.at[:, 0].set(1.0)
    return states.replace(rates=ppo.Rates(*(rate * factor for rate, factor in zip(states.rates, factors))))


def population_updates(
    key: Array,
    states: ppo.PPOState,
    env: EnvParams,
    *,
    num_selected: int,
    num_updates: int,
    num_members: int,
    settings: ppo.PPOSettings,
    axis_name: str | None = None,
) -> tuple[ppo.PPOState, ppo.UpdateMetrics]:
    """Updates of the first members as one program; the members are then put in order, the best first.

    Args:
      key: PRNG key of the whole training; a member's is that of its first place.
      states: PPOState with a leading axis of all members.
      env: EnvParams.
      num_selected: p.
      num_updates: U, updates of this call.
      num_members: M, those that go on.
      settings: PPOSettings.
      axis_name: axis of the devices, which share each member's work as in `ppo.update`; None for one.

    Returns:
      The states of all members, and UpdateMetrics ``[U]``: means over the M, and their best.
    """
    static = {"num_selected": num_selected, "num_updates": num_updates, "settings": settings, "axis_name": axis_name}
    members = jax.tree.map(lambda x: x[:num_members], states)
    keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(jnp.arange(num_members))
    members, metrics = jax.vmap(lambda key, state: ppo.update_repeatedly(key, state, env, **static))(keys, members)
    order = jnp.argsort(-members.best_reward)
    states = jax.tree.map(lambda all_, some: all_.at[:num_members].set(some[order]), states, members)
    means = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
    highest = {name: jnp.max(getattr(metrics, name), axis=0) for name in ("max_reward", "mode_reward", "best_reward")}
    return states, means._replace(**highest)


def select_by_population(
    key: Array,
    env: EnvParams,
    num_selected: int,
    settings: ppo.PPOSettings,
    on_call: OnCall = lambda done, metrics: None,
    devices: parallel.Devices | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> BitSelection:
    """The best subset of many PPO trainings that share a device, the worse ones of which end early.

    Members differ in their keys and in learning rate and weight of the entropy. After every round the best quarter
    goes on (successive halving: Jamieson and Talwalkar, AISTATS 2016), and the last one ends as a single training does.

    Args:
      key: PRNG key, consumed.
      env: EnvParams.
      num_selected: p.
      settings: PPOSettings.
      on_call: as of `select_ppo`, once per round.
      devices: as of `select_ppo`.
      checkpoint: asked after each round.

    Returns:
      BitSelection.

    Raises:
      FloatingPointError: a reward or a loss stopped being a finite number.
    """
    init_key, train_key = jax.random.split(key)
    sizes = round_sizes(settings.population)
    ends = _round_ends(settings.num_updates, len(sizes))

    def call(
        key: Array, states: ppo.PPOState, env: EnvParams, position: int, stop: int
    ) -> tuple[ppo.PPOState, ppo.UpdateMetrics]:
        static: dict[str, Any] = {"num_selected": num_selected, "num_updates": stop - position, "settings": settings}
        static["num_members"] = sizes[ends.index(stop)]
        program = parallel.wrap_step(population_updates, devices, donate_argnums=(1,), **static)
        return program(jax.random.fold_in(key, position), states, env)

    states = _follow(
        (train_key, _init_population(init_key, env, num_selected, settings)),
        env,
        settings,
        call,
        lambda position: min(end for end in ends if end > position),
        (on_call, devices, checkpoint),
    )
    # Members that ended early may have seen better sets than the last one.
    best = jax.tree.map(lambda x: x[jnp.argmax(states.best_reward)], states)
    updates = sum(size * (end - start) for size, start, end in zip(sizes, [0, *ends[:-1]], ends))
    return _selection(best, env, num_selected, settings, updates)
