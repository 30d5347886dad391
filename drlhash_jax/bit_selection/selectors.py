"""Ways to choose p of k bits, and the one record of each that configuration, pipeline and report read.

Every selector is judged by the mAP of what it chose and by the number of rewards that it computed for that.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from drlhash_jax import parallel
from drlhash_jax.bit_selection import filters, learning, ppo, searches
from drlhash_jax.bit_selection.environment import EnvParams, mask_of, subset_reward
from drlhash_jax.types import NO_CHECKPOINT, Array, BitSelection, Checkpoint


@jax.jit
def order_reward(env: EnvParams, order: Array) -> Array:
    """Reward of pool positions int32 ``[p]``: float32 scalar."""
    return subset_reward(env, mask_of(order, env.pool_bits))


class SelectorTools(NamedTuple):
    """What a selector may use beside its key, the environment and p.

    Attributes:
      settings: PPOSettings. They are the budget of the searches without one of their own, too: as many subsets as PPO
        plays episodes.
      search: SearchSettings.
      devices: that share the work; None for the default device.
      on_call: of a selector with `Selector.num_steps`: called now and then with the number of steps done and the
        UpdateMetrics of those since the last call, see `learning.select_ppo`.
      checkpoint: of such a selector, too; the others take seconds, and start again where they are interrupted.
    """

    settings: ppo.PPOSettings
    search: searches.SearchSettings = searches.SearchSettings()
    devices: parallel.Devices | None = None
    on_call: learning.OnCall = lambda done, metrics: None
    checkpoint: Checkpoint = NO_CHECKPOINT

    @property
    def num_episodes(self) -> int:
        """Episodes that PPO plays."""
        return self.settings.num_updates * self.settings.num_envs


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
      nested: whether it makes one order for all lengths, for which the environment names them (`EnvParams.lengths`).
    """

    label: str
    meaning: str
    select: Callable[[Array, EnvParams, int, SelectorTools], BitSelection]
    has_draws: bool = False
    needs_reward: bool = True
    num_steps: Callable[[ppo.PPOSettings], int] | None = None
    nested: bool = False


def _told(env: EnvParams, order: np.ndarray | Array) -> BitSelection:
    """A choice that no reward was computed for, with its reward."""
    order = jnp.asarray(order, jnp.int32)
    return BitSelection(order, order_reward(env, order), 1)


def select_first(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    """The first p bits, as they come out of the encoder; the key is unused."""
    return _told(env, np.arange(num_selected))


def select_random(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    """A uniformly random subset; the key is consumed."""
    return _told(env, jax.random.permutation(key, env.pool_bits)[:num_selected])


def select_greedy(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    """See `searches.greedy`."""
    return searches.run(searches.greedy, key, env, tools.devices, num_selected=num_selected)


def _select_beam(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    width = tools.search.beam_width
    return searches.run(searches.beam, key, env, tools.devices, num_selected=num_selected, width=width)


def _select_best_of_random(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    static = {"num_selected": num_selected, "num_draws": tools.num_episodes}
    return searches.run(searches.best_of_random, key, env, tools.devices, **static)


def _select_by_annealing(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    static = {"num_selected": num_selected, "num_steps": tools.num_episodes}
    return searches.run(searches.annealing, key, env, tools.devices, **static)


def _select_by_cross_entropy(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    draws = tools.search.draws
    budget = {"num_iterations": max(1, tools.num_episodes // draws), "draws": draws}
    elite = max(1, round(tools.search.elite * draws))
    return searches.run(
        searches.cross_entropy, key, env, tools.devices, num_selected=num_selected, elite=elite, **budget
    )


def _select_ppo(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    return learning.select_ppo(key, env, num_selected, tools.settings, tools.on_call, tools.devices, tools.checkpoint)


def _select_by_policy_gradient(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    return _select_ppo(
        key, env, num_selected, tools._replace(settings=learning.policy_gradient_settings(tools.settings))
    )


def _select_by_population(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
    return learning.select_by_population(
        key, env, num_selected, tools.settings, tools.on_call, tools.devices, tools.checkpoint
    )


def _then_swap(select: Callable[[Array, EnvParams, int, SelectorTools], BitSelection]) -> Callable:
    """A selector, and local search from what it found."""

    def swapped(key: Array, env: EnvParams, num_selected: int, tools: SelectorTools) -> BitSelection:
        start = select(key, env, num_selected, tools)
        static = {"num_rounds": tools.search.swap_rounds}
        found = searches.run(searches.swaps, key, env, tools.devices, jnp.asarray(start.order), **static)
        return found._replace(num_evaluations=found.num_evaluations + start.num_evaluations, found_by=start.found_by)

    return swapped


def _updates(settings: ppo.PPOSettings) -> int:
    return settings.num_updates


# In the order of the rows of a result.
SELECTORS: dict[str, Selector] = {
    "ppo": Selector("PPO", "the best that the policy has played", _select_ppo, num_steps=_updates),
    "ppo_swaps": Selector(
        "PPO, then swaps",
        "the same, each bit then exchanged where that helps",
        _then_swap(_select_ppo),
        num_steps=_updates,
    ),
    "ppo_nested": Selector(
        "PPO, nested",
        "one order for all lengths, whose every prefix is rewarded",
        _select_ppo,
        num_steps=_updates,
        nested=True,
    ),
    "population": Selector("population", "the best of many PPO trainings", _select_by_population, num_steps=_updates),
    "reinforce": Selector(
        "REINFORCE", "the best that a plain policy gradient has played", _select_by_policy_gradient, num_steps=_updates
    ),
    "greedy": Selector("greedy", "one after another, the bit that raises the reward most", select_greedy),
    "greedy_swaps": Selector(
        "greedy, then swaps", "the same, each bit then exchanged where that helps", _then_swap(select_greedy)
    ),
    "beam": Selector("beam", "as greedy, with several sets at every length", _select_beam),
    "annealing": Selector("annealing", "the best on a walk of random exchanges", _select_by_annealing),
    "cross_entropy": Selector(
        "cross-entropy", "the best of draws that follow the best draws", _select_by_cross_entropy
    ),
    "ndomset": Selector(
        "NDomSet",
        "dominant sets of bits that keep neighbours together",
        lambda key, env, p, tools: _told(env, filters.by_dominant_sets(key, env, p)),
        needs_reward=False,
    ),
    "mutual_information": Selector(
        "mutual information",
        "those that tell most about the labels and least about one another",
        lambda key, env, p, tools: _told(env, filters.by_mutual_information(env, p)),
        needs_reward=False,
    ),
    "entropy": Selector(
        "entropy",
        "those that split the rows most evenly",
        lambda key, env, p, tools: _told(env, filters.by_entropy(env, p)),
        needs_reward=False,
    ),
    "random": Selector("random", "drawn by chance", select_random, has_draws=True, needs_reward=False),
    "first": Selector("first p", "the first ones", select_first, needs_reward=False),
    "best_of_random": Selector(
        "best of N", "the random choice of highest reward, among as many as PPO plays episodes", _select_best_of_random
    ),
}
# Those that a run compares unless it says otherwise.
USUAL_SELECTORS = ("ppo", "greedy", "entropy", "random", "first", "best_of_random")
