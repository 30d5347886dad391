"""Ways to choose p of k bits, and the one record of each that configuration, pipeline and report read.

Every selector is judged by the mAP of what it chose and by the number of rewards that it computed for that.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.bit_selection import ppo
from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_reward
from drlhash_jax.training.loop import run_chunks
from drlhash_jax.types import NO_CHECKPOINT, Array, BitSelection, Checkpoint


@jax.jit
def order_reward(env: EnvParams, order: Array) -> Array:
    """Reward of pool positions int32 ``[p]``: float32 scalar."""
    return subset_reward(env, mask_of(order, env.pool_bits))


def select_first(key: Array, env: EnvParams, num_selected: int) -> BitSelection:
    """The first p bits, as they come out of the encoder; the key is unused."""
    order = jnp.arange(num_selected, dtype=jnp.int32)
    return BitSelection(order, order_reward(env, order), 1)


def select_random(key: Array, env: EnvParams, num_selected: int) -> BitSelection:
    """A uniformly random subset; the key is consumed."""
    order = jax.random.permutation(key, env.pool_bits)[:num_selected].astype(jnp.int32)
    return BitSelection(order, order_reward(env, order), 1)


def select_by_entropy(key: Array, env: EnvParams, num_selected: int) -> BitSelection:
    """The p bits of largest entropy over the reward's database, of equal ones the earlier; the key is unused."""
    words, weights = np.asarray(env.database.codes), np.asarray(env.database.weights, np.int64)
    bits = np.unpackbits(words.astype(">u4").view(np.uint8), axis=1, count=env.pool_bits)
    ones = weights @ bits
    # The entropy rises with the rarer value's count. Counts are exact: 1,993 ones and 2,007 ones of 4,000 are equal,
    # while their entropies in floating point are not.
    rarer = np.minimum(ones, weights.sum() - ones)
    order = jnp.asarray(np.argsort(-rarer, kind="stable")[:num_selected].astype(np.int32))
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
    """Updates in one call of the compiled program: the largest divisor up to 10, so that all calls are alike."""
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
    state = ppo.init_state(init_key, env, num_selected, settings)
    key_data, state = checkpoint.restore((jax.random.key_data(train_key), state))
    train_key = jax.random.wrap_key_data(jnp.asarray(key_data))
    state, env = parallel.replicate((state, env), devices)
    size = updates_per_call(settings.num_updates)

    def advance(state: ppo.PPOState, position: int, stop: int) -> tuple[ppo.PPOState, Mapping[str, np.ndarray]]:
        static = {"num_selected": num_selected, "num_updates": size, "settings": settings, "devices": devices}
        state, metrics = ppo.train_chunk(train_key, state, env, **static)
        return state, jax.tree.map(np.asarray, parallel.fetch(metrics, devices))._asdict()

    state = run_chunks(
        advance,
        state,
        position=int(parallel.fetch(state.update, devices)),
        total=settings.num_updates,
        next_stop=lambda position: position + size,
        describe=lambda update: f"in update {update}, last minibatch",
        report=lambda done, metrics: on_call(done, ppo.UpdateMetrics(**metrics)),
        offer=lambda done, state: checkpoint.offer(done, (key_data, state)),
    )
    best = parallel.fetch((state.best_order, state.best_reward), devices)
    return BitSelection(*best, settings.num_updates * (settings.num_envs + 1))


class SelectorTools(NamedTuple):
    """What a selector may use beside its key, the environment and p.

    Attributes:
      settings: PPOSettings, which also say how many subsets `best_of_random` draws: as many as PPO plays episodes.
      devices: that share the work; None for the default device.
      on_call: of a selector with `Selector.num_steps`: called now and then with the number of steps done and the
        UpdateMetrics of those since the last call, see `select_ppo`.
      checkpoint: of such a selector, too; the others take seconds, and start again where they are interrupted.
    """

    settings: ppo.PPOSettings
    devices: parallel.Devices | None = None
    on_call: Callable[[int, ppo.UpdateMetrics], None] = lambda done, metrics: None
    checkpoint: Checkpoint = NO_CHECKPOINT


class Selector(NamedTuple):
    """One way to choose bits.

    Attributes:
      label: for tables and figures.
      meaning: the bits that it takes, to be read after the label.
      select: (key, EnvParams, p, SelectorTools) -> BitSelection. The environment holds the pool's codes and the reward.
      has_draws: whether it is a matter of chance alone, so that one result says little: it is run several times with
        different keys, and its row is the mean with the standard deviation.
      needs_reward: whether the choice depends on the reward. Without it the reward is computed once, to be told.
      num_steps: PPOSettings -> number of steps that it reports while it runs; None for one that reports none.
    """

    label: str
    meaning: str
    select: Callable[[Array, EnvParams, int, SelectorTools], BitSelection]
    has_draws: bool = False
    needs_reward: bool = True
    num_steps: Callable[[ppo.PPOSettings], int] | None = None


def _run_ppo(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    return select_ppo(key, env, num_selected, tools.settings, tools.on_call, tools.devices, tools.checkpoint)


def _run_best_of_random(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    num_draws = tools.settings.num_updates * tools.settings.num_envs
    return select_best_of_random(key, env, num_selected, num_draws, tools.devices)


# In the order of the rows of a result.
SELECTORS: dict[str, Selector] = {
    "ppo": Selector(
        "PPO", "the best that the policy has played", _run_ppo, num_steps=lambda settings: settings.num_updates
    ),
    "greedy": Selector(
        "greedy",
        "one after another, the bit that raises the reward most",
        lambda key, env, p, tools: select_greedy(key, env, p, tools.devices),
    ),
    "entropy": Selector(
        "entropy",
        "those that split the rows most evenly",
        lambda key, env, p, tools: select_by_entropy(key, env, p),
        needs_reward=False,
    ),
    "random": Selector(
        "random",
        "drawn by chance",
        lambda key, env, p, tools: select_random(key, env, p),
        has_draws=True,
        needs_reward=False,
    ),
    "first": Selector(
        "first p", "the first ones", lambda key, env, p, tools: select_first(key, env, p), needs_reward=False
    ),
    "best_of_random": Selector(
        "best of N", "the random choice of highest reward, among as many as PPO plays episodes", _run_best_of_random
    ),
}
