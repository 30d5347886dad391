"""Settings of every method, searched with one budget on training rows; reported queries are never looked at."""

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from drlhash_jax.comparison.settings import Comparison
from drlhash_jax.methods import METHODS


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with some fields replaced."""
    found = copy.deepcopy(dict(values))
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = merged(found[name], value) if nested else copy.deepcopy(value)
    return found


def search_space(method: str, trainings: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every setting of a method that may be tried: nested changes of a run's configuration, the defaults (none) first.

    Args:
      method: name in METHODS.
      trainings: name -> fields of section training; tried for methods that train the encoder.
    """
    spec = METHODS[method]
    axes: list[list[dict[str, Any]]] = []
    if spec.trains_encoder:
        axes.append([{}, *({"training": dict(fields)} for fields in trainings.values())])
    for field in dataclasses.fields(spec.settings):
        axes.append([{}, *({spec.section: {field.name: value}} for value in field.metadata["search"])])
    found = []
    for parts in itertools.product(*axes):
        changes: dict[str, Any] = {}
        for part in parts:
            changes = merged(changes, part)
        found.append(changes)
    return found


def candidates(comparison: Comparison, method: str) -> list[dict[str, Any]]:
    """The settings that are tried: the defaults, and others drawn without replacement; the same for the same method."""
    first, *others = search_space(method, comparison.trainings)
    seed = int.from_bytes(hashlib.sha256(method.encode()).digest()[:8], "little")
    order = np.random.default_rng(seed).permutation(len(others))
    return [first, *(others[place] for place in order[: comparison.settings.num_settings - 1])]


def run_config(
    comparison: Comparison, method: str, changes: Mapping[str, Any], *, bits: int, seed: int, **data: Any
) -> dict[str, Any]:
    """Configuration of one run of a comparison.

    Args:
      comparison: Comparison.
      method: name in METHODS.
      changes: nested fields, as `candidates` gives them.
      bits: code length.
      seed: of the run.
      **data: fields of section data.
    """
    values = merged(merged(comparison.base, comparison.methods.get(method, {})), changes)
    own = {"method": method, "seed": seed, "pool_bits": bits, "bits": (bits,), "last_stage": "encoder"}
    return merged(values, own | {"data": data})
