"""A whole comparison: every method in a process of its own, some at a time; then one table and one page."""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import ml_collections

from drlhash_jax import runs
from drlhash_jax.comparison.page import write_page
from drlhash_jax.comparison.search import run_config
from drlhash_jax.comparison.settings import Comparison, load_comparison
from drlhash_jax.comparison.summary import RIVALS_NAME, summarise
from drlhash_jax.comparison.tables import write_tables
from drlhash_jax.comparison.work import finding_file, work
from drlhash_jax.config import plain_config
from drlhash_jax.errors import RunStoppedError
from drlhash_jax.files import write_json
from drlhash_jax.pages import make_environment
from drlhash_jax.pipeline import load_run
from drlhash_jax.runs.stored_config import read_object

_CONFIG = "comparison_config.json"
# Seconds between two looks at the processes.
_LOOK = 0.2


def _finding(folder: Path, name: str) -> dict:
    """What is known of a method, or of the rivals; "rows" if it is finished, else "failed"."""
    path = finding_file(folder, name)
    return read_object(path) if path.is_file() else {"name": name, "failed": "its process ended, see logs/"}


def _say_finished(found: dict, seconds: float, say: Callable[[str], None]) -> None:
    if "failed" in found:
        say(f"{found['name']}: not compared: {found['failed']}")
        return
    if found["name"] == RIVALS_NAME:
        say(f"rivals: {len(found['rows'])} rankings; {seconds:,.0f} s")
        return
    rows = [row for row in found["rows"] if row["table"] == "seen"]
    lengths = dict.fromkeys(row["bits"] for row in rows)
    mean = lambda bits: (
        sum(row["map"]["hamming"] for row in rows if row["bits"] == bits) / sum(row["bits"] == bits for row in rows)
    )
    say(f"{found['name']}: {', '.join(f'{mean(bits):.3f} at {bits} bits' for bits in lengths)}; {seconds:,.0f} s")


def _run_processes(
    comparison: Comparison,
    folder: Path,
    names: list[str],
    jobs: int,
    say: Callable[[str], None],
    stop_requested: Callable[[], str | None],
) -> None:
    """Runs methods, and the rivals, in processes of their own, `jobs` at a time.

    Raises:
      RunStoppedError: a stop was requested, here or in a process; what is done is saved.
    """
    context, waiting = multiprocessing.get_context("spawn"), list(names)
    running: dict[str, tuple[BaseProcess, float]] = {}
    stopped = None
    while waiting or running:
        while waiting and len(running) < jobs and not stopped:
            name = waiting.pop(0)
            process = context.Process(target=work, args=(comparison, name, str(folder)))
            process.start()
            running[name] = process, time.monotonic()
        for name, (process, begun) in list(running.items()):
            if process.is_alive():
                continue
            del running[name]
            stopped = stopped or ("a signal to one of its processes" if process.exitcode == os.EX_TEMPFAIL else None)
            if process.exitcode != os.EX_TEMPFAIL:
                _say_finished(_finding(folder, name), time.monotonic() - begun, say)
        if stopped is None and (stopped := stop_requested()):
            for process, _ in running.values():
                process.terminate()
        if stopped:
            waiting.clear()
        time.sleep(_LOOK)
    if stopped:
        raise RunStoppedError(f"stopped by {stopped}: run the same command again to go on")


def compare(
    config: ml_collections.ConfigDict,
    workdir: str,
    *,
    jobs: int = 1,
    say: Callable[[str], None] = lambda text: None,
    stop_requested: Callable[[], str | None] = lambda: None,
) -> list[Path]:
    """Compares methods, or goes on where an earlier call was stopped.

    Args:
      config: see `comparison_config`.
      workdir: directory of the comparison; created if needed.
      jobs: methods that run at a time.
      say: told what is going on.
      stop_requested: asked all the time for the name of a signal to stop.

    Returns:
      Paths of the files that were written: all numbers, tables and the page.

    Raises:
      UserError: the configuration, the data or the directory cannot work, or jinja2 is not installed.
      RunStoppedError: a stop was requested; what is done is saved.
    """
    comparison = load_comparison(config)
    # Asks for the package of the page before hours are spent.
    make_environment()
    # Refuses data and settings that no method can use, before anything is written.
    first = {"bits": comparison.settings.bits[0], "seed": comparison.settings.seeds[0]}
    load_run(run_config(comparison, "lsh", {}, **first))
    folder = Path(workdir)
    lock = runs.claim_directory(folder, _CONFIG, plain_config(config), "comparison")
    try:
        names = [*comparison.settings.methods, *([RIVALS_NAME] if comparison.settings.rivals else [])]
        # What was refused may be tried again.
        unfinished = [name for name in names if "rows" not in _finding(folder, name)]
        if finished := len(names) - len(unfinished):
            say(f"{finished} of {len(names)} are finished already")
        _run_processes(comparison, folder, unfinished, jobs, say, stop_requested)
        found = [_finding(folder, name) for name in names]
        summary = summarise(comparison, folder, found)
        write_json(folder / "comparison.json", summary)
        return [folder / "comparison.json", *write_tables(folder, summary), write_page(folder, summary)]
    finally:
        runs.unlock_directory(folder, lock)
