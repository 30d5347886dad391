"""Settings of every method, searched with one budget on training rows; reported queries are never looked at."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from drlhash_jax.comparison.settings import Comparison
from drlhash_jax.config import merged
from drlhash_jax.methods import METHODS


def search_axes(method: str, trainings: Mapping[str, Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """What may be changed about a method, one thing at a time: nested changes of a run's configuration.

    Args:
      method: name in METHODS.
      trainings: name -> fields of section training; the first axis of methods that train the encoder, since a training
        that does not fit the loss spoils everything else.
    """
    spec = METHODS[method]
    axes = [[{"training": dict(fields)} for fields in trainings.values()]] if spec.trains_encoder else []
    for field in dataclasses.fields(spec.settings):
        axes.append([{spec.section: {field.name: value}} for value in field.metadata["search"]])
    return [axis for axis in axes if axis]


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
