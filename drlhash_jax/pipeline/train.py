"""A whole run: a method is trained, rows are hashed, bits are selected, retrieval is measured.

The one place where the pure stages meet files, configurations and clocks. Every stage is a function of its inputs and
of a key that depends on the seed and the stage alone, so a run that was interrupted ends as it would have.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from drlhash_jax import data, runs, terminal
from drlhash_jax.config import plain_config
from drlhash_jax.files import sha256_of
from drlhash_jax.pipeline import artefacts
from drlhash_jax.pipeline.hashing import Hashed, before_last_phase, hash_split
from drlhash_jax.pipeline.load import load_run
from drlhash_jax.pipeline.run import Run, hold_out_rows, stage_names
from drlhash_jax.pipeline.selection import make_reward, select_bits


def _encoder_row(run: Run, role: str, hashed: Hashed) -> dict:
    return artefacts.measured_row(run, role, "none", hashed.seconds, [(hashed.query, hashed.database)])


def _select_and_measure(run: Run, pool: Hashed) -> list[dict]:
    """Selects at every length: the result rows. Writes the selections and the pool."""
    env, looked_at = make_reward(run, pool)
    selections = {bits: select_bits(run, env, bits) for bits in run.config.run.bits}
    orders = {
        bits: {name: found["order"][0].tolist() for name, found in by_selector.items()}
        for bits, by_selector in selections.items()
    }
    artefacts.write_selections(run, env, selections)
    artefacts.write_pool(run, pool, looked_at.codes if run.config.reward_codes == "crossfit" else None, orders)
    rows = []
    for by_selector in selections.values():
        for selector, found in by_selector.items():
            drawn = [(pool.query[:, order], pool.database[:, order]) for order in found["order"]]
            rows.append(artefacts.measured_row(run, "selected", selector, float(found["seconds"]), drawn))
    return rows


def _train_direct(run: Run) -> list[dict]:
    """Trains an encoder at each selected length: the result rows."""
    rows = []
    for bits in run.config.run.bits:
        if bits != run.config.run.pool_bits:
            hashed = hash_split(run, bits)
            artefacts.write_direct(run, hashed)
            rows.append(_encoder_row(run, "direct", hashed))
    return rows


def _run_stages(run: Run) -> list[dict]:
    """All stages of the configuration; returns the result rows."""
    settings = run.config.run
    if settings.last_stage == "target_codes":
        artefacts.write_codes(run, {"train_target": before_last_phase(run, settings.pool_bits)["codes"]})
        return []
    pool = hash_split(run, settings.pool_bits)
    rows = [_encoder_row(run, "pool", pool)]
    if settings.last_stage == "encoder":
        artefacts.write_pool(run, pool, None, {})
    else:
        rows += _select_and_measure(run, pool)
        if settings.train_direct:
            rows += _train_direct(run)
    artefacts.write_results(run, rows)
    return rows


def train_and_evaluate(
    config: Mapping[str, Any] | ml_collections.ConfigDict,
    workdir: str,
    stop_requested: Callable[[], str | None] = lambda: None,
) -> list[dict]:
    """Runs every stage of a configuration, or what an earlier call left undone.

    Args:
      config: see `config.default_config`; or the same as nested dictionaries.
      workdir: directory of the run; created if needed.
      stop_requested: asked between steps for the name of a signal to stop.

    Returns:
      The result rows of metrics.json; none if the last stage is target_codes.

    Raises:
      UserError: the configuration, the data or the directory cannot work.
      FloatingPointError: a loss stopped being finite.
      RunStoppedError: a stop was requested; what is done is saved.
    """
    loaded = load_run(config)
    if runs.is_first_process():
        for line in data.notices(loaded.dataset):
            print(f"{loaded.dataset.name}: {line}", file=sys.stderr)
    inputs = data.input_digest(loaded.dataset)
    if loaded.weights:
        inputs |= {"weights": loaded.weights["sha256"]}
    if fingerprint := getattr(loaded.config.method, "fingerprint", ""):
        inputs |= {"secret": fingerprint}
    if path := loaded.config.data.frozen_codes:
        inputs |= {"frozen_codes": sha256_of(path)}
    with runs.Workdir(workdir, plain_config(config), stop_requested, inputs=inputs) as directory:
        artefacts.record_start(directory, loaded)
        held_out = hold_out_rows(loaded.config, len(loaded.split.train))
        if runs.is_first_process():
            print(terminal.run_line(workdir, stage_names(loaded.config), directory.finished_stages), file=sys.stderr)
        given = loaded.dataset, loaded.split, loaded.rows, held_out, loaded.frozen
        return _run_stages(Run(loaded.config, directory, *given))
