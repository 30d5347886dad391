"""Rounds of some epochs each, for methods that sample rows and update codes between two rounds."""

from typing import Protocol

import jax

from drlhash_jax.types import Array


class RoundSettings(Protocol):
    """What a method with rounds is told."""

    epochs_per_round: int


def round_key(key: Array, epoch: Array, settings: RoundSettings) -> Array:
    """PRNG key of an epoch's round; `key` is that of the whole training."""
    return jax.random.fold_in(key, epoch // settings.epochs_per_round)


def ends_round(epoch: Array, settings: RoundSettings, num_epochs: int) -> Array:
    """Whether an epoch is the last of its round: bool scalar.

    Training ends a round too: codes that were not updated since would be those of an older encoder, or random.
    """
    return ((epoch + 1) % settings.epochs_per_round == 0) | (epoch + 1 == num_epochs)
