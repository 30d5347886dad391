"""Settings: the default, the meaning and the range of every field, in the one place where the field is declared.

A room declares a frozen dataclass of `setting` fields that inherits `Settings`. The configuration is assembled from
these classes, and turned back into them once, when a run is loaded; nothing behind that point sees a configuration.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from drlhash_jax.errors import UserError

_MOST_SHOWN = 40


def setting(
    default: Any,
    meaning: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Sequence[str] | None = None,
    zero_is_none: bool = False,
    search: Sequence[Any] = (),
) -> Any:
    """A field of `Settings`.

    Args:
      default: its value if nothing else is said.
      meaning: one line for people, with the unit.
      least: smallest number allowed.
      most: largest number allowed.
      choices: the words allowed.
      zero_is_none: whether a configuration writes None as 0, since a flag cannot give None.
      search: values other than the default that a search for good settings may try.
    """
    facts = {"meaning": meaning, "least": least, "most": most, "choices": choices}
    return dataclasses.field(default=default, metadata=facts | {"zero_is_none": zero_is_none, "search": tuple(search)})


def _fits(value: Any, default: Any) -> bool:
    """Whether a value has the type that its default says."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, int if default is None else type(default))


def check_value(name: str, value: Any, field: dataclasses.Field) -> None:
    """Refuses a value of another type, outside the range, or that is no finite number.

    Raises:
      UserError: names the field, its value and what would be right.
    """
    facts = field.metadata
    if value is None and facts["zero_is_none"]:
        return
    if not _fits(value, field.default):
        kind = "int" if field.default is None else type(field.default).__name__
        raise UserError(f"{name}={shown(value)}: must be of type {kind}")
    if facts["choices"] is not None and value not in facts["choices"]:
        raise UserError(
            f"{name}={shown(value)}: choose one of {', '.join(facts['choices'])}{near(value, facts['choices'])}"
        )
    least, most = facts["least"], facts["most"]
    if least is None and most is None:
        return
    low, high = -math.inf if least is None else least, math.inf if most is None else most
    # False for NaN as well.
    if not (low <= value <= high and math.isfinite(value)):
        allowed = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise UserError(f"{name}={shown(value)}: must be a number {allowed}")


def shown(value: Any) -> str:
    """A value as messages show it: on one line, and cut where it is long."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def words_of(values: Sequence[Any]) -> tuple[str, ...]:
    """Words of a flag, which gives several as one with commas between them."""
    return tuple(word for value in values for word in str(value).split(",") if word)


def check_names(field: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses a name that is none of those known.

    Raises:
      UserError: names the field and what would be right.
    """
    for name in names:
        if name not in known:
            raise UserError(f"{field}={name}: choose among {', '.join(known)}{near(name, known)}")


def near(word: str, known: Sequence[str]) -> str:
    """A question that offers the known word most like this one; "" if none is."""
    found = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of every room's settings; hashable, so that compiled programs may depend on them."""

    def replace(self, **changes: Any) -> Self:
        """The same settings with other values of some fields."""
        return dataclasses.replace(self, **changes)

    def checked(self, prefix: str = "") -> Self:
        """These settings, if every field is in its range.

        Args:
          prefix: written before a field's name in messages, e.g. "ppo.".

        Raises:
          UserError: see `check_value`.
        """
        for field in dataclasses.fields(self):
            check_value(f"{prefix}{field.name}", getattr(self, field.name), field)
        return self

    @classmethod
    def from_config(cls, values: Mapping[str, Any], prefix: str = "") -> Self:
        """Settings of a configuration's values, checked.

        Args:
          values: field -> value; fields of other settings are left alone.
          prefix: of the fields, for messages.

        Raises:
          UserError: see `check_value`.
        """
        given = {}
        for field in dataclasses.fields(cls):
            value = values.get(field.name, field.default)
            absent = field.metadata["zero_is_none"] and value == 0 and not isinstance(value, bool)
            given[field.name] = None if absent else tuple(value) if isinstance(value, list) else value
        return cls(**given).checked(prefix)

    @classmethod
    def config_defaults(cls) -> dict[str, Any]:
        """Field -> default as a configuration writes it."""
        absent = lambda field: field.default is None and field.metadata["zero_is_none"]
        return {field.name: 0 if absent(field) else field.default for field in dataclasses.fields(cls)}
