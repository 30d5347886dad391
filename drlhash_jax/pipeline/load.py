"""What a run reads, and checks, before it writes anything."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

from drlhash_jax import data, encoders, parallel, weights
from drlhash_jax.config import (
    RunConfig,
    check_against_data,
    check_against_devices,
    check_against_rows,
    load,
    read_secret,
)
from drlhash_jax.files import sha256_of
from drlhash_jax.methods import METHODS
from drlhash_jax.training import FrozenCodes, TrainingRows, place_rows


class Loaded(NamedTuple):
    """A run's settings and data.

    Attributes:
      config: RunConfig.
      dataset: Dataset.
      split: Split.
      rows: TrainingRows of the split's training part.
      weights: what run.json says about the file of published weights; None without one.
      frozen: codes that some rows of the dataset have already; None for none.
    """

    config: RunConfig
    dataset: data.Dataset
    split: data.Split
    rows: TrainingRows
    weights: dict[str, Any] | None
    frozen: data.FrozenRows | None


def _read_pretrained(settings: encoders.EncoderSettings) -> tuple[dict, dict]:
    """Layers of the published weights, and what run.json says about their file."""
    path = weights.find_weights(settings.weights, settings.name)
    arrays = weights.read_weights(path)
    known = encoders.ENCODERS[settings.name]
    encoder = encoders.make_encoder(settings.name, 1, **settings.attributes)
    facts = {"file": path.name, "sha256": sha256_of(path), "tensors": len(arrays)}
    return encoders.import_weights(known.published, encoder, arrays), facts


def _fit_spec(config: RunConfig, inputs: Any) -> encoders.InputSpec | None:
    """Normalisation of the inputs; None where there are none."""
    if inputs is None:
        return None
    settings = config.encoder
    trains_encoder = METHODS[config.run.method].trains_encoder
    statistics = encoders.ENCODERS[settings.name].statistics if trains_encoder else None
    return encoders.fit_input_spec(inputs, settings.image_size, settings.crop_size, statistics)


def load_run(config: Mapping[str, Any] | ml_collections.ConfigDict) -> Loaded:
    """Loads and checks everything.

    Args:
      config: see `config.default_config`; or the same as nested dictionaries.

    Raises:
      UserError: the configuration or the data cannot work.
    """
    settings = read_secret(load(config))
    devices = parallel.find_devices(settings.run.parallel)
    check_against_devices(settings, devices.mesh.size)
    how = {field.name: getattr(settings.data, field.name) for field in dataclasses.fields(data.DataSettings)}
    dataset = data.load_dataset(settings.data.source, **how)
    split = data.make_split(dataset, *data.find_protocol(settings.data), settings.run.seed)
    if settings.data.validation:
        split = data.validation_split(split, settings.data.validation, settings.run.seed)
    frozen = None
    if path := settings.data.frozen_codes:
        frozen = data.read_frozen_rows(path, len(dataset.labels), settings.run.pool_bits)
    check_against_data(settings, dataset.inputs, len(split.train), dataset.image_spec is not None)
    inputs = None if dataset.inputs is None else data.select_rows(dataset.inputs, split.train)
    needs_weights = METHODS[settings.run.method].trains_encoder and settings.run.last_stage != "target_codes"
    pretrained, facts = None, None
    if inputs is not None and needs_weights and settings.encoder.weights:
        pretrained, facts = _read_pretrained(settings.encoder)
    rows = place_rows(
        inputs,
        dataset.labels[split.train],
        _fit_spec(settings, inputs),
        pretrained=pretrained,
        devices=devices,
        resident_bytes=settings.training.resident_mib * 2**20,
        frozen=FrozenCodes(*frozen.among(split.train)) if frozen else None,
    )
    check_against_rows(settings, rows)
    return Loaded(settings, dataset, split, rows, facts, frozen)
