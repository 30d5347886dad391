"""Stage 3: choosing the most informative bits of a pool, by PPO and by the selectors it is compared with."""

from drlhash_jax.bit_selection.actor_critic import ActorCritic, masked_policy
from drlhash_jax.bit_selection.environment import (
    EnvParams,
    EnvState,
    action_mask,
    mask_of,
    reset,
    select,
    step,
    subset_reward,
)
from drlhash_jax.bit_selection.ppo import PPOSettings, PPOState, UpdateMetrics, init_state, mode_order, train_chunk
from drlhash_jax.bit_selection.returns import generalized_advantage
from drlhash_jax.bit_selection.selectors import (
    bit_entropy,
    order_reward,
    select_best_of_random,
    select_by_entropy,
    select_first,
    select_greedy,
    select_ppo,
    select_random,
)

from drlhash_jax.bit_selection.reward import RewardSettings

SELECTORS = ("ppo", "greedy", "entropy", "random", "first", "best_of_random")
__all__ = [
    "SELECTORS",
    "RewardSettings",
    "ActorCritic",
    "EnvParams",
    "EnvState",
    "PPOSettings",
    "PPOState",
    "UpdateMetrics",
    "action_mask",
    "bit_entropy",
    "generalized_advantage",
    "init_state",
    "mask_of",
    "masked_policy",
    "mode_order",
    "order_reward",
    "reset",
    "select",
    "select_best_of_random",
    "select_by_entropy",
    "select_first",
    "select_greedy",
    "select_ppo",
    "select_random",
    "step",
    "subset_reward",
    "train_chunk",
]
