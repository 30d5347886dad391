"""Searches over subsets of bits that learn nothing: greedy, beam, swaps, annealing, cross-entropy, chance.

Each body is a pure function of arrays that returns ``(order int32 [p], reward float32, evaluations int32)``: pool
positions, the reward of the set, and the number of rewards that were computed. Devices share the queries of a reward.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_reward
from drlhash_jax.settings import Settings, setting
from drlhash_jax.types import Array, BitSelection

Found = tuple[Array, Array, Array]


@dataclasses.dataclass(frozen=True)
class SearchSettings(Settings):
    """Settings of the searches that PPO is compared with; where they need a budget it is that of PPO."""

    beam_width: int = setting(4, "sets that beam search keeps at every length", least=1, most=10_000)
    swap_rounds: int = setting(20, "rounds over all chosen bits after which swapping ends", least=1, most=10_000)
    elite: float = setting(0.1, "share of the draws that cross-entropy learns from", least=0.001, most=1.0)
    draws: int = setting(64, "subsets per iteration of cross-entropy", least=2, most=1_000_000)


def run(
    body: Callable[..., Found],
    key: Array,
    env: EnvParams,
    devices: parallel.Devices | None,
    *arrays: Array,
    **static: int | float,
) -> BitSelection:
    """Runs the body of a search on devices, all or with None the default one."""
    step = parallel.wrap_step(body, devices, **static)
    order, reward, evaluations = parallel.fetch(step(key, env, *arrays), devices)
    return BitSelection(order, reward, int(evaluations))


def _rewards_of_additions(env: EnvParams, selected: Array, axis_name: str | None) -> Array:
    """Reward of the set with each further bit: float32 ``[k]``; -inf, and not evaluated, where the bit is in it."""

    def candidate(bit: Array) -> Array:
        evaluate = lambda: subset_reward(env, selected.at[bit].set(True), axis_name)
        return jax.lax.cond(selected[bit], lambda: -jnp.inf, evaluate)

    return jax.lax.map(candidate, jnp.arange(env.pool_bits))


def greedy(key: Array, env: EnvParams, *, num_selected: int, axis_name: str | None) -> Found:
    """Forward selection: p times the bit that raises the reward most; the key is unused."""

    def add_best(selected: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        rewards = _rewards_of_additions(env, selected, axis_name)
        best = jnp.argmax(rewards).astype(jnp.int32)
        return selected.at[best].set(True), (best, rewards[best])

    _, (order, rewards) = jax.lax.scan(add_best, jnp.zeros(env.pool_bits, bool), length=num_selected)
    return order, rewards[-1], jnp.int32(sum(env.pool_bits - t for t in range(num_selected)))


def beam(key: Array, env: EnvParams, *, num_selected: int, width: int, axis_name: str | None) -> Found:
    """Forward selection that keeps the best sets of every length instead of one.

    Args:
      key: PRNG key; it names the bits, see below.
      env: EnvParams.
      num_selected: p.
      width: sets that are kept.
      axis_name: axis of the devices; None for one.

    Returns:
      See the head of the module.
    """
    # A set reached in two orders is kept once: sets are told apart by the sum of random numbers of their bits.
    names = jax.random.bits(key, (env.pool_bits,), jnp.uint32)
    empty = jnp.zeros((width, env.pool_bits), bool)

    def additions(pair: tuple[Array, Array]) -> Array:
        selected, known = pair
        nothing = lambda: jnp.full(env.pool_bits, -jnp.inf)
        return jax.lax.cond(known, lambda: _rewards_of_additions(env, selected, axis_name), nothing)

    def extend(carry: tuple, t: Array) -> tuple[tuple, None]:
        selected, orders, known, _, evaluations = carry
        rewards = jax.lax.map(additions, (selected, known))
        sums = jnp.sum(jnp.where(selected, names[None], 0), axis=1, dtype=jnp.uint32)[:, None] + names[None]

        def take(rewards: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
            place = jnp.argmax(rewards)
            value = rewards.ravel()[place]
            return jnp.where(sums == sums.ravel()[place], -jnp.inf, rewards), (place, value)

        _, (places, values) = jax.lax.scan(take, rewards, length=width)
        parents, bits = jnp.divmod(places, env.pool_bits)
        selected = selected[parents].at[jnp.arange(width), bits].set(True)
        orders = orders[parents].at[:, t].set(bits.astype(jnp.int32))
        evaluations += jnp.sum(known) * (env.pool_bits - t)
        return (selected, orders, values > -jnp.inf, values, evaluations), None

    start = empty, jnp.zeros((width, num_selected), jnp.int32), jnp.arange(width) == 0, jnp.zeros(width), jnp.int32(0)
    (_, orders, _, values, evaluations), _ = jax.lax.scan(extend, start, jnp.arange(num_selected))
    return orders[0], values[0], evaluations


def swaps(key: Array, env: EnvParams, order: Array, *, num_rounds: int, axis_name: str | None) -> Found:
    """Local search: each chosen bit in turn gives way to the best other one, until a whole round changes nothing.

    Args:
      key: PRNG key, unused.
      env: EnvParams.
      order: int32 ``[p]``, the set to start from.
      num_rounds: rounds after which it ends in any case.
      axis_name: axis of the devices; None for one.

    Returns:
      See the head of the module; an exchanged bit takes the place of the one that it replaces. The set that it starts
      from is evaluated once more.
    """
    pool_bits, num_selected = env.pool_bits, order.shape[0]

    def try_place(carry: tuple, place: Array) -> tuple[tuple, Array]:
        order, reward = carry
        others = mask_of(order, pool_bits).at[order[place]].set(False)
        # The bit itself is left out: its reward is the present one.
        rewards = _rewards_of_additions(env, others, axis_name).at[order[place]].set(-jnp.inf)
        best = jnp.argmax(rewards).astype(jnp.int32)
        better = rewards[best] > reward
        order = jnp.where(better, order.at[place].set(best), order)
        return (order, jnp.maximum(reward, rewards[best])), better

    def one_round(carry: tuple) -> tuple:
        order, reward, rounds, _ = carry
        (order, reward), changes = jax.lax.scan(try_place, (order, reward), jnp.arange(num_selected))
        return order, reward, rounds + 1, jnp.any(changes)

    start = order, subset_reward(env, mask_of(order, pool_bits), axis_name), jnp.int32(0), jnp.array(True)
    going_on = lambda carry: carry[3] & (carry[2] < num_rounds)
    order, reward, rounds, _ = jax.lax.while_loop(going_on, one_round, start)
    return order, reward, 1 + rounds * num_selected * (pool_bits - num_selected + 1)


def _draw(key: Array, env: EnvParams, num_selected: int) -> Array:
    return jax.random.permutation(key, env.pool_bits)[:num_selected].astype(jnp.int32)


def best_of_random(key: Array, env: EnvParams, *, num_selected: int, num_draws: int, axis_name: str | None) -> Found:
    """The best of num_draws uniformly random subsets; the key is consumed."""
    keys = jax.random.split(key, num_draws)
    reward = lambda key: subset_reward(env, mask_of(_draw(key, env, num_selected), env.pool_bits), axis_name)
    rewards = jax.lax.map(reward, keys)
    best = jnp.argmax(rewards)
    return _draw(keys[best], env, num_selected), rewards[best], jnp.int32(num_draws)


# Random sets that tell annealing how far rewards lie apart.
_ANNEALING_PROBES = 16


def annealing(key: Array, env: EnvParams, *, num_selected: int, num_steps: int, axis_name: str | None) -> Found:
    """Simulated annealing over exchanges of one bit (Kirkpatrick et al., Science 1983).

    The temperature falls geometrically from the deviation of the rewards of random sets to a hundredth of it. The set
    with the highest reward on the way is returned.

    Args:
      key: PRNG key, consumed.
      env: EnvParams.
      num_selected: p.
      num_steps: exchanges that are tried.
      axis_name: axis of the devices; None for one.

    Returns:
      See the head of the module.
    """
    probe_key, walk_key = jax.random.split(key)
    reward_of = lambda order: subset_reward(env, mask_of(order, env.pool_bits), axis_name)
    orders = jax.vmap(lambda key: _draw(key, env, num_selected))(jax.random.split(probe_key, _ANNEALING_PROBES))
    probes = jax.lax.map(reward_of, orders)
    hot = jnp.std(probes) + 1e-9
    first = orders[jnp.argmax(probes)], jnp.max(probes)

    def step(carry: tuple, xs: tuple) -> tuple[tuple, None]:
        (order, reward), (best_order, best_reward) = carry
        key, t = xs
        place_key, bit_key, chance_key = jax.random.split(key, 3)
        place = jax.random.randint(place_key, (), 0, num_selected)
        # The bit itself may be drawn, so that there is always one: of all bits of the pool nothing can be exchanged.
        outside = jnp.where(mask_of(order, env.pool_bits).at[order[place]].set(False), -jnp.inf, 0.0)
        changed = order.at[place].set(jax.random.categorical(bit_key, outside).astype(jnp.int32))
        new = reward_of(changed)
        temperature = hot * 0.01 ** (t / num_steps)
        taken = jnp.log(jax.random.uniform(chance_key)) < (new - reward) / temperature
        present = jnp.where(taken, changed, order), jnp.where(taken, new, reward)
        better = new > best_reward
        best = jnp.where(better, changed, best_order), jnp.maximum(new, best_reward)
        return (present, best), None

    xs = jax.random.split(walk_key, num_steps), jnp.arange(num_steps)
    (_, (order, reward)), _ = jax.lax.scan(step, (first, first), xs)
    return order, reward, jnp.int32(num_steps + _ANNEALING_PROBES)


def cross_entropy(
    key: Array, env: EnvParams, *, num_selected: int, num_iterations: int, draws: int, elite: int, axis_name: str | None
) -> Found:
    """The cross-entropy method: draws sets, and moves each bit's weight towards its share in the best of them.

    Sets are drawn without replacement by the Gumbel-top-p trick, in proportion to odds of the shares (Rubinstein,
    Methodology and Computing in Applied Probability 1999).

    Args:
      key: PRNG key, consumed.
      env: EnvParams.
      num_selected: p.
      num_iterations: iterations.
      draws: sets of an iteration.
      elite: number of them that it learns from.
      axis_name: axis of the devices; None for one.

    Returns:
      See the head of the module; bits in the order of their weight.
    """
    pool_bits = env.pool_bits

    def iterate(carry: tuple, key: Array) -> tuple[tuple, None]:
        shares, best_mask, best_reward = carry
        odds = jnp.log(shares) - jnp.log1p(-shares)
        noisy = odds[None] + jax.random.gumbel(key, (draws, pool_bits))
        masks = jax.vmap(lambda order: mask_of(order, pool_bits))(jax.lax.top_k(noisy, num_selected)[1])
        rewards = jax.lax.map(lambda mask: subset_reward(env, mask, axis_name), masks)
        top, places = jax.lax.top_k(rewards, elite)
        better = top[0] > best_reward
        best = jnp.where(better, masks[places[0]], best_mask), jnp.maximum(top[0], best_reward)
        found = jnp.mean(masks[places].astype(jnp.float32), axis=0)
        # Smoothed, so that a bit which is missing once can come back.
        return (jnp.clip(0.7 * shares + 0.3 * found, 1e-3, 1.0 - 1e-3), *best), None

    start = jnp.full(pool_bits, min(num_selected / pool_bits, 1.0 - 1e-3)), jnp.zeros(pool_bits, bool), -jnp.inf
    (shares, mask, reward), _ = jax.lax.scan(iterate, start, jax.random.split(key, num_iterations))
    order = jax.lax.top_k(jnp.where(mask, shares, -1.0), num_selected)[1].astype(jnp.int32)
    return order, reward, jnp.int32(num_iterations * draws)
