"""Ways to choose p of k bits, all behind one signature: ``(key, env, num_selected, ...) -> BitSelection``.

Every selector but first-p and entropy is judged by the number of rewards that it computes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.bit_selection import ppo
from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_reward
from drlhash_jax.types import NO_CHECKPOINT, Array, BitSelection, Checkpoint


@jax.jit
def order_reward(env: EnvParams, order: Array) -> Array:
    """Reward of pool positions int32 ``[p]``: float32 scalar."""
    return subset_reward(env, mask_of(order, env.pool_bits))


def select_first(key: Array, env: EnvParams, num_selected: int) -> BitSelection:
    """The first p bits, as they come out of stage 1; the key is unused."""
    order = jnp.arange(num_selected, dtype=jnp.int32)
    return BitSelection(order, order_reward(env, order), 1)


def select_random(key: Array, env: EnvParams, num_selected: int) -> BitSelection:
    """A uniformly random subset; the key is consumed."""
    order = jax.random.permutation(key, env.pool_bits)[:num_selected].astype(jnp.int32)
    return BitSelection(order, order_reward(env, order), 1)


def bit_entropy(env: EnvParams) -> Array:
    """Entropy in bits of each pool bit over the reward's database: float32 ``[k]``."""
    place = jnp.arange(env.pool_bits)
    bits = (env.database.codes[:, place // 32] >> (31 - place % 32).astype(jnp.uint32)[None]) & 1
    weights = env.database.weights[:, None]
    ones = jnp.sum(bits.astype(jnp.int32) * weights, axis=0) / jnp.sum(weights)
    return (jax.scipy.special.entr(ones) + jax.scipy.special.entr(1.0 - ones)) / jnp.log(2.0)


def select_by_entropy(key: Array, env: EnvParams, num_selected: int) -> BitSelection:
    """The p bits of largest entropy; the key is unused."""
    order = jnp.argsort(-bit_entropy(env), stable=True)[:num_selected].astype(jnp.int32)
    return BitSelection(order, order_reward(env, order), 1)


def _greedy(env: EnvParams, *, num_selected: int, axis_name: str | None) -> tuple[Array, Array]:
    each = jnp.arange(env.pool_bits)

    def add_best(selected, _):
        def candidate(bit):
            # A bit already selected adds nothing and is not evaluated.
            evaluate = lambda: subset_reward(env, selected.at[bit].set(True), axis_name)
            return jax.lax.cond(selected[bit], lambda: -jnp.inf, evaluate)

        rewards = jax.lax.map(candidate, each)
        best = jnp.argmax(rewards).astype(jnp.int32)
        return selected.at[best].set(True), (best, rewards[best])

    _, (order, rewards) = jax.lax.scan(add_best, jnp.zeros(env.pool_bits, bool), length=num_selected)
    return order, rewards[-1]


def select_greedy(
    key: Array, env: EnvParams, num_selected: int, devices: parallel.Devices | None = None
) -> BitSelection:
    """Forward selection: p times the bit that raises the reward most; the key is unused.

    Devices, all or with None the default one, share the queries of each reward.
    """
    step = parallel.wrap_step(_greedy, devices, num_selected=num_selected)
    order, reward = parallel.fetch(step(env), devices)
    num_evaluations = sum(env.pool_bits - t for t in range(num_selected))
    return BitSelection(order, reward, num_evaluations)


def _best_of_random(
    key: Array, env: EnvParams, *, num_selected: int, num_draws: int, axis_name: str | None
) -> tuple[Array, Array]:
    draw = lambda key: jax.random.permutation(key, env.pool_bits)[:num_selected].astype(jnp.int32)
    keys = jax.random.split(key, num_draws)
    rewards = jax.lax.map(lambda key: subset_reward(env, mask_of(draw(key), env.pool_bits), axis_name), keys)
    best = jnp.argmax(rewards)
    return draw(keys[best]), rewards[best]


def select_best_of_random(
    key: Array, env: EnvParams, num_selected: int, num_draws: int, devices: parallel.Devices | None = None
) -> BitSelection:
    """The best of num_draws random subsets; the key is consumed. Devices share the queries as in `select_greedy`."""
    step = parallel.wrap_step(_best_of_random, devices, num_selected=num_selected, num_draws=num_draws)
    order, reward = parallel.fetch(step(key, env), devices)
    return BitSelection(order, reward, num_draws)


def updates_per_call(num_updates: int) -> int:
    """Updates in one call of the jitted program: the largest divisor up to 10, so that all calls are alike."""
    return max(size for size in range(1, 11) if num_updates % size == 0)


def select_ppo(
    key: Array,
    env: EnvParams,
    num_selected: int,
    settings: ppo.PPOSettings,
    on_call: Callable[[int, ppo.UpdateMetrics], None] = lambda done, metrics: None,
    devices: parallel.Devices | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> BitSelection:
    """The best subset that PPO has played, sampled or most probable (thesis Alg. 3).

    Args:
      key: PRNG key, consumed.
      env: EnvParams.
      num_selected: p.
      settings: PPOSettings.
      on_call: called after each call of the jitted program with the number of updates done so far and the
        UpdateMetrics ``[U]`` of that call.
      devices: that share environments, minibatches and queries, see `ppo.update`; None for the default device.
      checkpoint: asked likewise, see `Checkpoint`.

    Returns:
      BitSelection.

    Raises:
      FloatingPointError: a loss stopped being a finite number.
    """
    init_key, train_key = jax.random.split(key)
    state = ppo.init_state(init_key, env, num_selected, settings)
    key_data, state = checkpoint.restore((jax.random.key_data(train_key), state))
    train_key = jax.random.wrap_key_data(jnp.asarray(key_data))
    state, env = parallel.replicate((state, env), devices)
    first = int(parallel.fetch(state.update, devices))
    size = updates_per_call(settings.num_updates)
    static = {"num_selected": num_selected, "num_updates": size, "settings": settings, "devices": devices}
    for done in range(first + size, settings.num_updates + 1, size):
        state, metrics = ppo.train_chunk(train_key, state, env, **static)
        metrics = jax.tree.map(np.asarray, parallel.fetch(metrics, devices))
        _check_finite(metrics, done - size)
        on_call(done, metrics)
        checkpoint.offer(done, (key_data, state))
    best = parallel.fetch((state.best_order, state.best_reward), devices)
    return BitSelection(*best, settings.num_updates * (settings.num_envs + 1))


def _check_finite(metrics: ppo.UpdateMetrics, first: int) -> None:
    """Raises FloatingPointError for the first update with a number that is none."""
    for name, values in metrics._asdict().items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise FloatingPointError(f"{name} is {values[bad[0]]} in update {first + bad[0]}, last minibatch")
