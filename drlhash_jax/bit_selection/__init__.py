"""Stage 3: choosing the most informative bits of a pool, by PPO and by the selectors it is compared with."""

from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_reward
from drlhash_jax.bit_selection.ppo import PPOSettings, UpdateMetrics, init_state, train_chunk
from drlhash_jax.bit_selection.reward import RewardSettings, make_reward
from drlhash_jax.bit_selection.selectors import SELECTORS, Selector, SelectorTools, order_reward, select_ppo

__all__ = [
    "EnvParams",
    "PPOSettings",
    "RewardSettings",
    "SELECTORS",
    "Selector",
    "SelectorTools",
    "UpdateMetrics",
    "init_state",
    "make_reward",
    "mask_of",
    "order_reward",
    "select_ppo",
    "subset_reward",
    "train_chunk",
]
