"""Bit selection as an episode: pick p of k bits one at a time, then be paid the mAP of what was picked.

Spec sheet (thesis 3.3.2):
  observation  bool ``[k]``, the bits selected so far
  action       int32, an unselected bit; the action mask tells which are legal
  reward       0 until p bits are selected, then the mAP of the reward sample on those bits (Eq. 3.14); with
               `EnvParams.lengths`, a share of it at each of these lengths, so that every prefix is worth something
  episode      exactly p steps (Alg. 3 prints k)

`reset` and `step` are the environment: PPO collects its episodes through them and through nothing else. They take one
environment and are vmapped by the caller. A step that ends no episode computes no reward, also under vmap, where JAX
alone would compute one at every step and throw all but the last away: see `_pay`.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from drlhash_jax.codes import PackedRows
from drlhash_jax.retrieval import (
    average_precision,
    count_by_distance,
    has_relevant,
    mean_over_queries,
    pack_words,
    share_of_queries,
)
from drlhash_jax.types import Array, DistanceCounts


@struct.dataclass
class EnvParams:
    """What every episode shares.

    Attributes:
      query: packed pool codes and labels of the reward's queries.
      database: packed pool codes and labels of the reward's database.
      pool_bits: k, static.
      top_k: ranks that count in the reward's mAP, static; None for all.
      lengths: numbers of selected bits at which the reward is paid, each an equal share of it, static; () for the end
        of the episode alone. The last of them is p.
    """

    query: PackedRows
    database: PackedRows
    pool_bits: int = struct.field(pytree_node=False)
    top_k: int | None = struct.field(pytree_node=False, default=None)
    lengths: tuple[int, ...] = struct.field(pytree_node=False, default=())

    def paid_lengths(self, num_selected: int) -> tuple[int, ...]:
        """Lengths at which an episode of num_selected steps is paid."""
        return self.lengths or (num_selected,)


class EnvState(NamedTuple):
    """State of one episode.

    Attributes:
      selected: bool ``[k]``.
      t: int32 scalar, bits selected so far.
    """

    selected: Array
    t: Array


class TimeStep(NamedTuple):
    """What an agent is told at the start of an episode and after each of its actions.

    Attributes:
      observation: bool ``[k]``, the bits selected so far.
      action_mask: bool ``[k]``, legal actions: the unselected bits, and none once the episode is over.
      reward: float32 scalar, for the last action.
      done: bool scalar, whether p bits are selected.
    """

    observation: Array
    action_mask: Array
    reward: Array
    done: Array


def _observe(state: EnvState, reward: Array, num_selected: int) -> TimeStep:
    done = state.t >= num_selected
    return TimeStep(state.selected, ~state.selected & ~done, reward, done)


def reset(params: EnvParams, *, num_selected: int) -> tuple[EnvState, TimeStep]:
    """Starts an episode: nothing is selected.

    Args:
      params: EnvParams.
      num_selected: p, static.

    Returns:
      The first EnvState and TimeStep.
    """
    state = EnvState(jnp.zeros(params.pool_bits, bool), jnp.zeros((), jnp.int32))
    return state, _observe(state, jnp.zeros(()), num_selected)


def step(params: EnvParams, state: EnvState, action: Array, *, num_selected: int) -> tuple[EnvState, TimeStep]:
    """Selects a bit.

    Args:
      params: EnvParams.
      state: EnvState.
      action: int32 scalar; an illegal one changes nothing.
      num_selected: p, static.

    Returns:
      The next EnvState and its TimeStep; the reward is that of the selection just finished, and 0 before and after.
    """
    lengths = params.paid_lengths(num_selected)
    chosen = (jnp.arange(params.pool_bits) == action) & ~state.selected & (state.t < num_selected)
    after = EnvState(state.selected | chosen, state.t + jnp.any(chosen))
    paid = jnp.any(chosen) & jnp.any(after.t == jnp.array(lengths))
    reward = _pay(params, after.selected[None], paid[None])[0] / len(lengths)
    return after, _observe(after, reward, num_selected)


@jax.custom_batching.custom_vmap
def _pay(params: EnvParams, selected: Array, paid: Array) -> Array:
    """The reward of each bool ``[E, k]`` that is to be paid, bool ``[E]``, else 0: float32 ``[E]``.

    In a loop that is entered only where something is paid, one reward after the other, since one histogram at a time
    stays in cache.
    """
    # Zero by a product, since under `shard_map` both branches must vary over the same devices.
    nothing = lambda paid: 0.0 * paid.astype(jnp.float32)
    one = lambda pair: jax.lax.cond(pair[1], lambda: subset_reward(params, pair[0]), lambda: nothing(pair[1]))
    return jax.lax.cond(jnp.any(paid), lambda: jax.lax.map(one, (selected, paid)), lambda: nothing(paid))


@_pay.def_vmap
def _pay_each(axis_size, is_batched, params, selected, paid):
    """`_pay` for many environments of one EnvParams, under any number of vmaps: all in one row.

    The built-in rule turns the conditions into choices between two values that are both computed: 309 ms instead of 15
    for 16 episodes of 16 bits (2 cores, 200 queries, 5,000 rows).
    """
    if any(jax.tree.leaves(is_batched[0])):
        raise NotImplementedError("environments that are stepped together share their EnvParams")
    selected, paid = (
        x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        for x, batched in zip((selected, paid), is_batched[1:], strict=True)
    )
    flat = _pay(params, selected.reshape(-1, selected.shape[-1]), paid.reshape(-1))
    return flat.reshape(paid.shape), True


def mask_of(order: Array, pool_bits: int) -> Array:
    """Selection mask bool ``[k]`` of pool positions int32 ``[p]``."""
    return jnp.zeros(pool_bits, bool).at[order].set(True)


def prefix_rewards(params: EnvParams, order: Array, lengths: tuple[int, ...], axis_name: str | None = None) -> Array:
    """Rewards of the first bits of an order, at each length.

    Args:
      params: EnvParams.
      order: int32 ``[p]``, pool positions.
      lengths: L numbers of bits, static.
      axis_name: axis of the devices that share the queries, see `subset_reward`.

    Returns:
      float32 ``[L]``.
    """
    masks = jnp.stack([mask_of(order[:length], params.pool_bits) for length in lengths])
    return jax.lax.map(lambda mask: subset_reward(params, mask, axis_name), masks)


def _precisions(params: EnvParams, query: PackedRows, selected: Array) -> tuple[Array, DistanceCounts]:
    """Average precision float32 ``[Q]`` of some queries on a subset of the pool's bits, and the counts behind it."""
    counts = count_by_distance(query, params.database, max_distance=params.pool_bits, bit_mask=pack_words(selected))
    return average_precision(counts, top_k=params.top_k), counts


def subset_precisions(params: EnvParams, selected: Array) -> tuple[Array, Array]:
    """Average precision of each of the reward's queries on a subset of the pool's bits.

    Args:
      params: EnvParams.
      selected: bool ``[k]``.

    Returns:
      float32 ``[Q]``, and int32 ``[Q]``: how many queries each stands for, 0 where no row is relevant.
    """
    precisions, counts = _precisions(params, params.query, selected)
    return precisions, jnp.where(has_relevant(counts), params.query.weights, 0)


def subset_reward(params: EnvParams, selected: Array, axis_name: str | None = None) -> Array:
    """mAP of the reward sample on a subset of the pool's bits, ties averaged exactly (Eq. 3.14).

    Dropping a bit is masking it in the XOR of packed codes, so any subset costs the same.

    Args:
      params: EnvParams.
      selected: bool ``[k]``.
      axis_name: axis of the devices that share the queries of this one reward; None to compute it on this device.

    Returns:
      float32 scalar.
    """
    chex.assert_shape(selected, (params.pool_bits,))
    query = share_of_queries(params.query, axis_name)
    return mean_over_queries(*_precisions(params, query, selected), query.weights, axis_name)
