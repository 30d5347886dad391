"""The stages that train a method and hash every row of the split."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax import data, runs
from drlhash_jax.pipeline.run import Run, follow_epochs, stage_of
from drlhash_jax.training import Phase, cross_fit_codes, encode_codes, fit, run_phase
from drlhash_jax.types import Checkpoint

_PARTS = ("train", "query", "database")


class Hashed(NamedTuple):
    """What a method of K bits made of the split.

    Attributes:
      train: codes uint8 ``[n, K]`` of the training rows, as rows of the database.
      train_query: the same as queries, where these have a function of their own; else None.
      query: uint8 ``[Q, K]``.
      database: uint8 ``[N, K]``; where training learnt the codes of its rows itself, rows that are training rows have
        those, and those that had a code before keep it.
      params: what the method's logits are computed with.
      before: what the phases before the last handed on; None if there was only one.
      seconds: wall time of the last phase's stage.
    """

    train: np.ndarray
    query: np.ndarray
    database: np.ndarray
    train_query: np.ndarray | None
    params: dict[str, Any]
    before: dict[str, Any] | None
    seconds: float


def _title(phase: Phase, num_bits: int) -> str:
    return f"{phase.name.replace('_', ' ')}, {num_bits} bits"


def _run_stage(run: Run, name: str, title: str, phase: Phase, compute: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A stage of the run: a training with its bar; returns nested dictionaries of arrays."""

    def compute_arrays(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
        with run.progress(name, title, phase.num_epochs) as progress:
            on_epoch = follow_epochs(run, name, phase.num_epochs, phase.batch_size > 0, progress)
            found = compute(on_epoch=on_epoch, checkpoint=checkpoint)
        return runs.flatten_params(found)

    return runs.unflatten_params(run.workdir.stage(name, compute_arrays))


def before_last_phase(run: Run, num_bits: int) -> dict[str, Any] | None:
    """Runs the phases before the last; returns what they hand on, None if there are none."""

    def run_stage(phase: Phase, compute: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        return _run_stage(run, stage_of(phase, num_bits), _title(phase, num_bits), phase, compute)

    key_of = lambda name: run.key(name, num_bits)
    return fit(run.method(num_bits).phases[:-1], run.rows, key_of, run.subset, run_stage=run_stage)


def _encode_parts(run: Run, num_bits: int, handed_on: dict[str, Any]) -> dict[str, np.ndarray]:
    """Codes of every part of the split."""
    method, params = run.method(num_bits), handed_on["params"]

    def encode(part: str, role: str) -> np.ndarray:
        inputs = data.select_rows(run.dataset.inputs, getattr(run.split, part))
        return encode_codes(method.logits_for(role), params, inputs, run.rows.spec, devices=run.devices)

    codes = {part: encode(part, "query" if part == "query" else "database") for part in _PARTS}
    if method.database_logits:
        codes["train_query"] = encode("train", "query")
    if "codes" in handed_on:
        fitted = np.arange(len(run.split.train)) if run.subset is None else run.subset
        _, places, rows = np.intersect1d(run.split.database, run.split.train[fitted], return_indices=True)
        codes["database"][places] = handed_on["codes"][fitted[rows]]
    if run.frozen:
        places, existing = run.frozen.among(run.split.database)
        codes["database"][places] = existing
    return codes


def hash_split(run: Run, num_bits: int) -> Hashed:
    """Trains the run's method for codes of one length, and encodes every part of the split."""
    before = before_last_phase(run, num_bits)
    phase = run.method(num_bits).phases[-1]
    stage, key = stage_of(phase, num_bits), run.key(phase.name, num_bits)

    def compute(**callbacks: Any) -> dict[str, Any]:
        handed_on = run_phase(key, phase, run.rows, run.subset, before=before, **callbacks)
        return _encode_parts(run, num_bits, handed_on) | {"params": handed_on["params"]}

    found = _run_stage(run, stage, _title(phase, num_bits), phase, compute)
    codes = {part: found[part] for part in _PARTS} | {"train_query": found.get("train_query")}
    return Hashed(**codes, params=found["params"], before=before, seconds=run.workdir.seconds(stage))


def heldout_codes(run: Run, num_bits: int, before: dict[str, Any] | None) -> np.ndarray:
    """Codes of the training rows by encoders that did not fit them: uint8 ``[n, K]``."""
    method, num_folds = run.method(num_bits), run.config.reward.num_folds
    phase = method.phases[-1]

    def run_fold(fold: int, compute: Callable[..., np.ndarray]) -> np.ndarray:
        name, title = f"crossfit_{num_bits:03d}_{fold}", f"cross-fit, {fold + 1} of {num_folds} folds"
        return _run_stage(run, name, title, phase, lambda **callbacks: {"codes": compute(**callbacks)})["codes"]

    key = run.key("crossfit")
    return cross_fit_codes(key, phase, method.logits, run.rows, num_folds, before=before, run_fold=run_fold)
