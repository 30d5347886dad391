"""Stage 3: choosing the most informative bits of a pool, by PPO and by the selectors it is compared with."""

from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_reward
from drlhash_jax.bit_selection.ppo import PPOSettings, UpdateMetrics, init_state, train_chunk
from drlhash_jax.bit_selection.reward import REWARD_CODES, RewardSettings, make_reward, reward_noise
from drlhash_jax.bit_selection.searches import SearchSettings
from drlhash_jax.bit_selection.selectors import SELECTORS, USUAL_SELECTORS, Selector, SelectorTools, order_reward

__all__ = [
    "EnvParams",
    "PPOSettings",
    "REWARD_CODES",
    "RewardSettings",
    "SELECTORS",
    "SearchSettings",
    "Selector",
    "SelectorTools",
    "USUAL_SELECTORS",
    "UpdateMetrics",
    "init_state",
    "make_reward",
    "mask_of",
    "order_reward",
    "reward_noise",
    "subset_reward",
    "train_chunk",
]
