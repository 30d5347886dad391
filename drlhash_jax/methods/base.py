"""What a hashing method is: pure functions in NamedTuples, which the rooms of all methods train, encode and measure."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from drlhash_jax.settings import Settings
from drlhash_jax.training import Phase, Start, TrainingSettings
from drlhash_jax.types import Array


class Method(NamedTuple):
    """A method for codes of one length.

    Attributes:
      phases: trained one after the other, each on what the one before handed on; the last one hands on "params", and
        "codes" uint8 ``[n, K]`` if training learnt the codes of its rows itself, which then stand for these rows in
        the database.
      logits: (params, normalised inputs float32 ``[B, ...]``) -> float32 ``[B, K]``; bit k is 1 iff logit k >= 0.
      database_logits: the same for rows of the database, where these have a function of their own; None where one
        function codes both.
      shared_bits: whether bit k means the same whatever rows the last phase is trained on, as with target codes. Such
        a method can be cross-fitted; others hold out rows for the reward.
      prefixes: lengths below K at which the first bits were trained to be good codes by themselves.
    """

    phases: tuple[Phase, ...]
    logits: Callable[[Any, Array], Array]
    database_logits: Callable[[Any, Array], Array] | None = None
    shared_bits: bool = False
    prefixes: tuple[int, ...] = ()

    def logits_for(self, role: str) -> Callable[[Any, Array], Array]:
        """The function of a role: "query", or "database"."""
        return self.database_logits if role == "database" and self.database_logits else self.logits


def signs(logits: Array) -> Array:
    """Bits of logits as float32 of {-1, 1}, of the same shape; 1 for a logit of 0."""
    return jnp.where(logits >= 0, 1.0, -1.0)


def encoder_logits(encoder: nn.Module) -> Callable[[Any, Array], Array]:
    """The logits of a method that keeps the encoder's parameters and nothing else."""
    return lambda params, x: encoder.apply({"params": params}, x, train=False)


def keep_codes(key: Array, begin: Start) -> dict[str, Array]:
    """What a loss remembers that looks up the codes uint8 ``[n, K]`` that the phase before handed on."""
    return {"codes": begin.before["codes"]}


class Ingredients(NamedTuple):
    """What a method is made from; hashable.

    Attributes:
      num_bits: K.
      encoder: module from normalised inputs to logits ``[B, K]``, for methods that train one.
      training: TrainingSettings.
      settings: the method's own.
    """

    num_bits: int
    encoder: nn.Module
    training: TrainingSettings
    settings: Settings


class TrainingFacts(NamedTuple):
    """What a method may refuse before anything is trained.

    Attributes:
      num_bits: K.
      kind: "features" or "images".
      shape: of one training row as stored, e.g. (32, 32, 3).
      num_rows: n, training rows.
      num_classes: C.
      multi_label: whether a row may have several labels.
    """

    num_bits: int
    kind: str
    shape: tuple[int, ...]
    num_rows: int
    num_classes: int
    multi_label: bool = False


class MethodSpec(NamedTuple):
    """What is known of a method.

    Attributes:
      make: Ingredients -> Method; cached, so that equal ingredients share their compiled programs.
      reference: the paper.
      settings: class of its own settings.
      section: of the configuration that holds them; "" for none.
      trains_encoder: whether it trains the configured encoder.
      learns_labels: whether it learns from labels; such a method needs at least two classes.
      accepts_unlabelled: whether some training rows may be without a label; other methods that learn from labels refuse
        such rows.
      keeps_codes: whether it learns codes beside such as must stay, see `FrozenCodes`.
      misfit: (the method's settings, TrainingFacts) -> one line that says what does not fit and what would; None if all
        fits.
    """

    make: Callable[[Ingredients], Method]
    reference: str
    settings: type[Settings] = Settings
    section: str = ""
    trains_encoder: bool = True
    learns_labels: bool = True
    accepts_unlabelled: bool = False
    keeps_codes: bool = False
    misfit: Callable[[Any, TrainingFacts], str | None] = lambda settings, facts: None
