"""Settings of an encoder."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from drlhash_jax.settings import Settings, setting

COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class EncoderSettings(Settings):
    """Which encoder, what it starts from, and the size of the images that it sees."""

    name: str = setting("compact", "name of the encoder")
    weights: str = setting("", "file of published weights to start from, or imagenet for those that come as a package")
    compute_dtype: str = setting(
        "float32", "of activations; parameters and logits are float32", choices=COMPUTE_DTYPES
    )
    options: tuple[tuple[str, Any], ...] = setting((), "attributes of the encoder's class, e.g. hidden of mlp")
    image_size: int | None = setting(
        None, "side in pixels that images are resized to; 0 leaves them as they are", least=1, most=4_096, zero_is_none=True
    )
    crop_size: int | None = setting(
        None,
        "side of the part that the encoder sees after that: the centre, or see max_shift; 0 for all",
        least=1,
        most=4_096,
        zero_is_none=True,
    )

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the encoder's class, hashable."""
        return dict(self.options) | {"compute_dtype": self.compute_dtype}


def hashable_options(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Options as pairs in order of their names, lists as tuples."""
    fixed = lambda value: tuple(map(fixed, value)) if isinstance(value, list | tuple) else value
    return tuple((name, fixed(options[name])) for name in sorted(options))
