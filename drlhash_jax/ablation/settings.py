"""The configuration of an ablation: a run's configuration, and what is varied in it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

from drlhash_jax.bit_selection import REWARD_CODES, SELECTORS
from drlhash_jax.comparison.settings import check_unseen
from drlhash_jax.config import plain_config
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS
from drlhash_jax.settings import Settings, check_names, setting, words_of


@dataclasses.dataclass(frozen=True)
class AblationSettings(Settings):
    """What is varied; lengths and all else that runs share stand in the base."""

    pools: tuple[str, ...] = setting(("drlhash", "csq", "hashnet"), "methods whose bits are chosen from")
    rewards: tuple[str, ...] = setting(("auto", "fitted"), "codes that bits are judged by, see reward.codes")
    selectors: tuple[str, ...] = setting(tuple(SELECTORS), "ways to choose bits")
    seeds: tuple[int, ...] = setting((0, 1, 2, 3, 4), "of the split and of everything random; two at least")
    unseen: str = setting("", "protocol of a second table, whose queries are of classes never trained on")


class Cell(NamedTuple):
    """One run of an ablation.

    Attributes:
      table: "seen" or "unseen".
      pool: method whose bits are chosen from.
      reward: `reward.codes` of the run.
      seed: of the run.
    """

    table: str
    pool: str
    reward: str
    seed: int

    @property
    def folder(self) -> str:
        """Its directory within that of the ablation."""
        return f"{self.table}/{self.pool}/{self.reward}/{self.seed}"


class Ablation(NamedTuple):
    """An ablation's configuration, checked.

    Attributes:
      settings: AblationSettings.
      base: configuration of a run, nested dictionaries.
      pools: method -> nested fields that are its own.
    """

    settings: AblationSettings
    base: dict[str, Any]
    pools: dict[str, dict[str, Any]]

    @property
    def cells(self) -> list[Cell]:
        """All runs, a seed of everything before the next seed."""
        given = self.settings
        tables = ("seen", "unseen") if given.unseen else ("seen",)
        return [
            Cell(table, pool, reward, seed)
            for seed in given.seeds
            for table in tables
            for pool in given.pools
            for reward in given.rewards
        ]


def ablation_config(base: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The configuration that a file of an ablation starts from.

    Args:
      base: configuration of a run, see `config.default_config`: data, encoder, budget, lengths.

    Returns:
      Sections `ablate` (`AblationSettings`), `base`, and `pools` (method -> fields that are its own).
    """
    return ml_collections.ConfigDict({"ablate": AblationSettings.config_defaults(), "base": base, "pools": {}})


def _check_words(name: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not values:
        raise UserError(f"ablate.{name} is empty: name at least one of {', '.join(known)}")
    check_names(f"ablate.{name}", values, known)
    if len(set(values)) < len(values):
        raise UserError(f"ablate.{name}={','.join(values)}: each once")


def load_ablation(config: Mapping[str, Any] | ml_collections.ConfigDict) -> Ablation:
    """Checks an ablation's configuration.

    Args:
      config: see `ablation_config`.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    values = plain_config(config)
    if missing := {"ablate", "base", "pools"} - set(values):
        raise UserError(
            f"--config has no section {', '.join(sorted(missing))}: an ablation starts from "
            "drlhash_jax.ablation.ablation_config, as configs/ablate_digits.py does"
        )
    words = {name: words_of(values["ablate"][name]) for name in ("pools", "rewards", "selectors")}
    settings = AblationSettings.from_config(values["ablate"] | words, "ablate.")
    _check_words("pools", settings.pools, tuple(METHODS))
    _check_words("rewards", settings.rewards, REWARD_CODES)
    _check_words("selectors", settings.selectors, tuple(SELECTORS))
    if "greedy" not in settings.selectors:
        raise UserError("ablate.selectors: greedy must be among them, since all others are compared with it")
    seeds = settings.seeds
    if len(set(seeds)) < 2 or any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in seeds):
        raise UserError(f"ablate.seeds={','.join(map(str, seeds))}: give two different integers from 0, at least")
    check_unseen("ablate.unseen", settings.unseen)
    return Ablation(settings, values["base"], values["pools"])
