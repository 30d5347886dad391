"""Settings of an encoder."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from drlhash_jax.encoders.registry import ENCODERS
from drlhash_jax.errors import UserError
from drlhash_jax.settings import Settings, near, setting, shown

COMPUTE_DTYPES = ("float32", "bfloat16")
# Of a layer.
_MOST_WIDTH = 65_536


@dataclasses.dataclass(frozen=True)
class EncoderSettings(Settings):
    """Which encoder, what it starts from, and the size of the images that it sees."""

    name: str = setting("compact", "name of the encoder", choices=tuple(ENCODERS))
    weights: str = setting("", "file of published weights to start from, or imagenet for those that come as a package")
    compute_dtype: str = setting("float32", "of activations; parameters and logits are float32", choices=COMPUTE_DTYPES)
    options: tuple[tuple[str, Any], ...] = setting((), "attributes of the encoder's class, e.g. hidden of mlp")
    image_size: int | None = setting(
        None,
        "side in pixels that images are resized to; 0 leaves them as they are",
        least=1,
        most=4_096,
        zero_is_none=True,
    )
    crop_size: int | None = setting(
        None,
        "side of the part that the encoder sees after that: the centre, or see max_shift; 0 for all",
        least=1,
        most=4_096,
        zero_is_none=True,
    )

    def checked(self, prefix: str = "") -> Self:
        """These settings, if every field and every option is in its range.

        Raises:
          UserError: names the field, its value and what would be right.
        """
        super().checked(prefix)
        encoder = ENCODERS[self.name]
        if self.weights and encoder.published is None:
            known = ", ".join(name for name, other in ENCODERS.items() if other.published)
            raise UserError(
                f"{prefix}weights={self.weights}: there are no published weights of {self.name}; use {known}"
            )
        for name, value in self.options:
            if name not in encoder.options:
                raise UserError(
                    f"{prefix}options of {self.name}={name}: choose one of {', '.join(encoder.options)}"
                    f"{near(name, encoder.options)}"
                )
            _check_option(f"{prefix}options.{name}", value, encoder.module.__dataclass_fields__[name].default)
        return self

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the encoder's class, hashable."""
        return dict(self.options) | {"compute_dtype": self.compute_dtype}


def _check_option(name: str, value: Any, default: Any) -> None:
    """Refuses what cannot be the value of an attribute: a width, widths, or a rate below 1."""
    values = value if isinstance(value, tuple) else (value,)
    usual = default[0] if isinstance(default, tuple) and default else default
    if isinstance(usual, bool) or not isinstance(usual, int | float):
        fits = all(type(each) is type(usual) for each in values)
    elif isinstance(usual, int):
        fits = all(type(each) is int and 1 <= each <= _MOST_WIDTH for each in values)
    else:
        fits = all(isinstance(each, int | float) and math.isfinite(each) and 0 <= each < 1 for each in values)
    if not fits or isinstance(value, tuple) != isinstance(default, tuple):
        raise UserError(
            f"{name}={shown(value)}: must be like {default}, widths from 1 to {_MOST_WIDTH}, rates from 0 to below 1"
        )


def hashable_options(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Options as pairs in order of their names, lists as tuples."""
    fixed = lambda value: tuple(map(fixed, value)) if isinstance(value, list | tuple) else value
    return tuple((name, fixed(options[name])) for name in sorted(options))
