"""Bit selection as an episode: pick p of k bits one at a time, then be paid the mAP of what was picked.

Spec sheet (thesis 3.3.2):
  observation  bool ``[k]``, the bits selected so far
  action       int32, an unselected bit; `action_mask` tells which are legal
  reward       0 until p bits are selected, then the mAP of the reward sample on those bits (Eq. 3.14)
  episode      exactly p steps (Alg. 3 prints k)

Functions take one environment and are vmapped by the caller.
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
    mean_over_queries,
    pack_words,
    share_of_queries,
)
from drlhash_jax.types import Array


@struct.dataclass
class EnvParams:
    """What every episode shares.

    Attributes:
      query: packed pool codes and labels of the reward's queries.
      database: packed pool codes and labels of the reward's database.
      pool_bits: k, static.
      top_k: ranks that count in the reward's mAP, static; None for all.
    """

    query: PackedRows
    database: PackedRows
    pool_bits: int = struct.field(pytree_node=False)
    top_k: int | None = struct.field(pytree_node=False, default=None)


class EnvState(NamedTuple):
    """State of one episode.

    Attributes:
      selected: bool ``[k]``.
      t: int32 scalar, bits selected so far.
    """

    selected: Array
    t: Array


class Transition(NamedTuple):
    """What one step returns.

    Attributes:
      state: the next EnvState.
      reward: float32 scalar.
      done: bool scalar, whether p bits are selected.
    """

    state: EnvState
    reward: Array
    done: Array


def reset(params: EnvParams) -> EnvState:
    """An episode's start: nothing selected."""
    return EnvState(jnp.zeros(params.pool_bits, bool), jnp.zeros((), jnp.int32))


def action_mask(state: EnvState, num_selected: int) -> Array:
    """Legal actions, bool ``[k]``: the unselected bits, and none once the episode is over."""
    return ~state.selected & (state.t < num_selected)


def select(state: EnvState, action: Array, num_selected: int) -> EnvState:
    """The next state, without its reward. An illegal action changes nothing."""
    chosen = (jnp.arange(state.selected.shape[0]) == action) & action_mask(state, num_selected)
    return EnvState(state.selected | chosen, state.t + jnp.any(chosen))


def mask_of(order: Array, pool_bits: int) -> Array:
    """Selection mask bool ``[k]`` of pool positions int32 ``[p]``."""
    return jnp.zeros(pool_bits, bool).at[order].set(True)


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
    counts = count_by_distance(query, params.database, max_distance=params.pool_bits, bit_mask=pack_words(selected))
    return mean_over_queries(average_precision(counts, top_k=params.top_k), counts, query.weights, axis_name)


def step(params: EnvParams, state: EnvState, action: Array, *, num_selected: int) -> Transition:
    """Selects a bit.

    Args:
      params: EnvParams.
      state: EnvState.
      action: int32 scalar.
      num_selected: p, static.

    Returns:
      Transition; the reward is that of the finished selection, and 0 before it and after it.
    """
    after = select(state, action, num_selected)
    done = after.t == num_selected
    finished_now = done & (state.t < num_selected)
    reward = jax.lax.cond(finished_now, lambda s: subset_reward(params, s), lambda s: jnp.zeros(()), after.selected)
    return Transition(after, reward, done)
