"""The configuration of a comparison: a run's configuration, and what is varied in it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from drlhash_jax.config import plain_config
from drlhash_jax.data import PROTOCOLS
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS
from drlhash_jax.runs.stored_config import read_object
from drlhash_jax.settings import Settings, check_names, setting, words_of


@dataclasses.dataclass(frozen=True)
class ComparisonSettings(Settings):
    """What is compared."""

    methods: tuple[str, ...] = setting(tuple(METHODS), "methods, see drlhash_jax/methods")
    bits: tuple[int, ...] = setting((16, 32, 48, 64), "code lengths; every method is trained at each")
    seeds: tuple[int, ...] = setting((0, 1, 2), "of the split and of everything random")
    num_settings: int = setting(
        8, "settings tried for each method on held-out training rows; 1 for its defaults alone", least=1, most=1_000
    )
    search_bits: int = setting(32, "code length at which settings are tried", least=1, most=4_096)
    search_seed: int = setting(0, "seed of the split whose training rows are searched on", least=0, most=2**32 - 1)
    searched: str = setting(
        "", "comparison.json of an earlier comparison: its methods take the settings found there, and are not searched"
    )
    validation: float = setting(0.3, "share of the training rows that is held out for the search", least=0.01, most=0.9)
    unseen: str = setting(
        "", "protocol of a second table, whose queries are of classes never trained on; empty for none"
    )
    unseen_bits: tuple[int, ...] = setting((), "code lengths of the second table; none for those of the first")
    reference: str = setting("drlhash", "method that the others' differences are taken from")
    rivals: bool = setting(True, "whether rankings by real-valued scores are measured too")


class Table(NamedTuple):
    """One table of a comparison.

    Attributes:
      name: "seen" or "unseen".
      protocol: of its runs; None for the base's own.
      bits: code lengths.
    """

    name: str
    protocol: str | None
    bits: tuple[int, ...]

    @property
    def data(self) -> dict[str, str]:
        """Fields of section data that its runs have of their own."""
        return {} if self.protocol is None else {"protocol": self.protocol}


class Comparison(NamedTuple):
    """A comparison's configuration, checked.

    Attributes:
      settings: ComparisonSettings.
      base: configuration of a run, nested dictionaries; what all methods share.
      trainings: name -> fields of section training, alternatives that the search tries for methods with an encoder.
      methods: method -> nested fields that are its own from the start.
      searched: method -> settings that an earlier search tried, the best first; these are not searched again.
    """

    settings: ComparisonSettings
    base: dict[str, Any]
    trainings: dict[str, dict[str, Any]]
    methods: dict[str, dict[str, Any]]
    searched: dict[str, list[dict[str, Any]]]

    @property
    def tables(self) -> list[Table]:
        """The tables that the comparison makes."""
        given = self.settings
        unseen = [Table("unseen", given.unseen, given.unseen_bits or given.bits)] if given.unseen else []
        return [Table("seen", None, given.bits), *unseen]


def comparison_config(base: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The configuration that a file of a comparison starts from.

    Args:
      base: configuration of a run, see `config.default_config`: data, protocol, encoder and budget of all methods.

    Returns:
      Sections `compare` (`ComparisonSettings`), `base`, `trainings` (name -> fields of training that the search tries)
      and `methods` (method -> fields that are its own).
    """
    values = {"compare": ComparisonSettings.config_defaults(), "base": base, "trainings": {}, "methods": {}}
    return ml_collections.ConfigDict(values)


def _check_numbers(name: str, values: tuple[int, ...], least: int) -> None:
    if not values or any(isinstance(each, bool) or not isinstance(each, int) or each < least for each in values):
        raise UserError(f"compare.{name}={','.join(map(str, values))}: give integers from {least}, e.g. 16,32")
    if len(set(values)) < len(values):
        raise UserError(f"compare.{name}={','.join(map(str, values))}: each once")


def check_unseen(field: str, protocol: str) -> None:
    """Refuses what is no protocol; "" stands for none.

    Raises:
      UserError: names the field and what would be right.
    """
    if protocol and protocol not in (*PROTOCOLS, "unseen"):
        raise UserError(f"{field}={protocol}: name a protocol of unseen classes, C-8+2 or unseen")


def _read_searched(path: str) -> dict[str, list[dict[str, Any]]]:
    """What an earlier comparison tried, by method, the best first.

    Raises:
      UserError: the file is no record of a comparison.
    """
    if not path:
        return {}
    try:
        found = read_object(Path(path))["settings"]
        return {method: [dict(each) for each in record["tried"]] for method, record in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"compare.searched={path}: give the comparison.json of an earlier comparison") from error


def load_comparison(config: Mapping[str, Any] | ml_collections.ConfigDict) -> Comparison:
    """Checks a comparison's configuration.

    Args:
      config: see `comparison_config`.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    values = plain_config(config)
    missing = {"compare", "base", "trainings", "methods"} - set(values)
    if missing:
        raise UserError(
            f"--config has no section {', '.join(sorted(missing))}: a comparison starts from "
            "drlhash_jax.comparison.comparison_config, as configs/compare_digits.py does"
        )
    given = values["compare"] | {"methods": words_of(values["compare"]["methods"])}
    settings = ComparisonSettings.from_config(given, "compare.")
    if not settings.methods:
        raise UserError("compare.methods is empty: name at least one method")
    known = tuple(METHODS)
    check_names("compare.methods", settings.methods, known)
    check_names("compare.reference", (settings.reference,), known)
    check_names("methods", tuple(values["methods"]), known)
    if len(set(settings.methods)) < len(settings.methods):
        raise UserError(f"compare.methods={','.join(settings.methods)}: each method once")
    _check_numbers("bits", settings.bits, 1)
    _check_numbers("seeds", settings.seeds, 0)
    if settings.unseen_bits:
        _check_numbers("unseen_bits", settings.unseen_bits, 1)
    check_unseen("compare.unseen", settings.unseen)
    searched = _read_searched(settings.searched)
    return Comparison(settings, values["base"], values["trainings"], values["methods"], searched)
