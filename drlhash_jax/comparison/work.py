"""One method of a comparison in a process of its own: its search, then its runs. What is finished is not run again."""

import functools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drlhash_jax import data, terminal
from drlhash_jax.comparison.rankings import rank_run
from drlhash_jax.comparison.rival_work import compare_rivals
from drlhash_jax.comparison.search import run_config, search_axes
from drlhash_jax.comparison.settings import Comparison
from drlhash_jax.comparison.summary import RIVALS_NAME, run_folder
from drlhash_jax.config import merged
from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.files import write_arrays, write_json
from drlhash_jax.pipeline import train_and_evaluate
from drlhash_jax.runs.stored_config import config_changes, read_object


def finding_file(workdir: Path, name: str) -> Path:
    """Where the findings about a method, or about the rivals, stand once it is finished."""
    return workdir / "findings" / f"{name}.json"


def _read_row(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())["results"][0]


def _stage_seconds(folder: Path) -> float:
    """Wall time of all stages of a run: training and encoding, compilation included."""
    stages = json.loads((folder / "run.json").read_text())["stages"]
    return sum(stage["seconds"] for stage in stages.values())


def _check_same(values: dict[str, Any], folder: Path) -> None:
    """Refuses a finished run of other settings, which another version of the search may have left."""
    if differing := config_changes(read_object(folder / "config.json")["config"], values):
        raise UserError(f"{folder} holds a run of other settings: {differing}; remove it, or give another --workdir")


def _rank(tried: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings that were tried, the best first; those that failed last, and equal ones in their order."""
    return sorted(tried, key=lambda each: -1.0 if each["map"] is None else each["map"], reverse=True)


def search(
    comparison: Comparison, method: str, workdir: Path, train: Callable[[dict, Path], None]
) -> list[dict[str, Any]]:
    """Tries a method's settings on held-out training rows: settings, mAP and seconds of each, the best first.

    The defaults come first. Then one thing after the other is changed in the best settings so far (see `search_axes`),
    until `num_settings` were tried or nothing is left. A setting that fails (a loss that is not finite) is the worst.
    What an earlier comparison tried (`compare.searched`) is taken from its record.
    """
    if method in comparison.searched:
        return comparison.searched[method]
    settings, tried = comparison.settings, []

    def measure(changes: dict[str, Any]) -> None:
        folder = workdir / "search" / method / str(len(tried))
        facts = {"bits": settings.search_bits, "seed": settings.search_seed, "validation": settings.validation}
        begun = time.monotonic()
        try:
            train(run_config(comparison, method, changes, **facts), folder)
        except FloatingPointError as error:
            tried.append({"settings": changes, "map": None, "failed": str(error)})
            return
        value = {"settings": changes, "map": _read_row(folder)["map"]}
        tried.append(value | {"seconds": round(time.monotonic() - begun, 1)})

    if settings.num_settings == 1:
        return []
    measure({})
    for axis in search_axes(method, comparison.trainings):
        best = _rank(tried)[0]["settings"]
        for change in axis[: settings.num_settings - len(tried)]:
            measure(merged(best, change))
    return _rank(tried)


def compare_method(
    comparison: Comparison, method: str, workdir: Path, stop_requested: Callable[[], str | None] = lambda: None
) -> dict[str, Any]:
    """Searches a method's settings and runs it at every length and seed.

    Args:
      comparison: Comparison.
      method: name in METHODS.
      workdir: directory of the comparison.
      stop_requested: asked between steps for the name of a signal to stop.

    Returns:
      "search" (see `search`), "settings" that were chosen, and "rows": table, bits, seed, mAP by ranking,
      P@H<=2, seconds, and peak memory of the process.

    Raises:
      UserError: the method does not fit the data, or a run's directory cannot be used.
      FloatingPointError: a loss stopped being finite.
      RunStoppedError: a stop was requested; what is done is saved.
    """
    load_dataset = functools.lru_cache(maxsize=1)(data.load_dataset)

    def train(values: dict, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if (folder / "metrics.json").is_file():
            _check_same(values, folder)
        else:
            train_and_evaluate(values, str(folder), stop_requested)

    found = search(comparison, method, workdir, train)
    if found and found[0]["map"] is None:
        raise FloatingPointError(f"every setting of {method} failed: {found[0]['failed']}")
    chosen, rows = found[0]["settings"] if found else {}, []
    for table in comparison.tables:
        for bits in table.bits:
            for seed in comparison.settings.seeds:
                folder = run_folder(workdir, table.name, method, bits, seed)
                train(run_config(comparison, method, chosen, bits=bits, seed=seed, **table.data), folder)
                path = folder / "rankings.npz"
                if not path.is_file():
                    write_arrays(path, rank_run(folder, load_dataset))
                with np.load(path) as ranked:
                    maps = {name: round(float(np.mean(ranked[name])), 6) for name in ranked.files}
                row = _read_row(folder)
                facts = {"table": table.name, "protocol": row["protocol"], "bits": bits, "seed": seed, "map": maps}
                facts |= {"precision_radius2": row["precision_radius2"], "seconds": round(_stage_seconds(folder), 1)}
                rows.append(facts)
    # Kibibytes on Linux.
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {"search": found, "settings": chosen, "rows": rows, "peak_mib": peak}


def work(comparison: Comparison, name: str, workdir: str) -> None:
    """Body of a process: compares a method, or the rivals, and writes what was found, or why it was refused.

    Args:
      comparison: Comparison.
      name: in METHODS, or `RIVALS_NAME`.
      workdir: directory of the comparison; what is printed goes into a file of its logs/.
    """
    folder, path = Path(workdir), finding_file(Path(workdir), name)
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", buffering=1, encoding="utf-8") as file, terminal.StopSignals() as signals:
        sys.stdout = sys.stderr = file
        stop_requested = lambda: signals.received
        try:
            if name == RIVALS_NAME:
                found = compare_rivals(comparison, comparison.tables, folder, stop_requested)
            else:
                found = compare_method(comparison, name, folder, stop_requested)
            write_json(path, {"name": name} | found)
        except (UserError, FloatingPointError) as error:
            print(f"drlhash_jax: {error}", file=file)
            write_json(path, {"name": name, "failed": str(error)})
        except RunStoppedError as stop:
            print(f"drlhash_jax: {stop}", file=file)
            sys.exit(os.EX_TEMPFAIL)
