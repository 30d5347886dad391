"""Evaluations from files to files: codes of any software, and the codes of a finished run."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data, parallel, terminal
from drlhash_jax.codes import CodeArray, as_label_pair, check_together, read_code_facts, read_codes
from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.evaluation.definitions import EVALUATION_DEFINITIONS
from drlhash_jax.evaluation.measure import Options, check_options, measure_codes
from drlhash_jax.files import sha256_of, write_json
from drlhash_jax.runs import lock_directory, unlock_directory
from drlhash_jax.runs.finished import (
    FinishedRun,
    check_code_rows,
    is_run,
    read_finished_run,
    read_pool_codes,
    read_run_data,
)

# Two evaluations of the same codes differ by the rounding of sums alone.
_TOLERANCE = 1e-5


class CodeFiles(NamedTuple):
    """Where codes and labels are: FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY each.

    Attributes:
      query_codes: address; "" if query_logits is given.
      query_logits: address of real-valued outputs ``[Q, K]``, which are codes by their signs; "" for none.
      database_codes: address.
      query_labels: address.
      database_labels: address.
      kind: of the codes, see `read_codes`; "logits" goes for the queries only.
      num_bits: K of packed codes.
      bit_order: of packed codes, "msb" or "lsb"; None where it is not said.
    """

    query_codes: str
    query_logits: str
    database_codes: str
    query_labels: str
    database_labels: str
    kind: str = "auto"
    num_bits: int | None = None
    bit_order: str | None = None


def _read_array(flag: str, address: str) -> np.ndarray:
    try:
        return data.read_array(address)
    except UserError as error:
        raise UserError(f"--{flag}: {error}") from error


def _read_codes(flag: str, address: str, files: CodeFiles, kind: str) -> CodeArray:
    """Codes of one file; one of ours says by the .json beside it how it is packed."""
    array = _read_array(flag, address)
    num_bits, bit_order = files.num_bits, files.bit_order
    path, key = data.split_address(address)
    facts = None if key else read_code_facts(path)
    side = flag.split("_")[0]
    if facts and facts.get("role", side) != side:
        raise UserError(
            f"--{flag}={address}: {path.with_suffix('.json')} says that these are codes of the {facts['role']} side; "
            "its method codes queries and the database apart"
        )
    if facts and kind in ("auto", "packed"):
        kind = "packed"
        for name, said in (("bits", num_bits), ("bit_order", bit_order)):
            if said not in (None, facts[name]):
                raise UserError(f"--{name}={said}: {path.with_suffix('.json')} says {facts[name]}")
        num_bits, bit_order = facts["bits"], facts["bit_order"]
    return read_codes(array, f"--{flag}={address}", kind=kind, num_bits=num_bits, bit_order=bit_order)


def _facts(address: str, array: np.ndarray, read: CodeArray | None = None) -> dict:
    """What is stored about an input."""
    path, _ = data.split_address(address)
    facts = {"file": address, "sha256": sha256_of(path), "rows": len(array)}
    if read is not None:
        facts |= {"bits": array.shape[1], "kind": read.kind}
        facts |= {"bit_order": read.bit_order} if read.bit_order else {}
    return facts


class _Inputs(NamedTuple):
    """Checked inputs: arrays, and what is stored about their files."""

    query: CodeArray
    database: CodeArray
    query_labels: np.ndarray
    database_labels: np.ndarray
    facts: dict[str, dict]


def _read_inputs(files: CodeFiles) -> _Inputs:
    query_flag = "query_logits" if files.query_logits else "query_codes"
    query_address = files.query_logits or files.query_codes
    is_logits = bool(files.query_logits) or files.kind == "logits"
    query = _read_codes(query_flag, query_address, files, "logits" if is_logits else files.kind)
    database_kind = "auto" if files.kind == "logits" else files.kind
    database = _read_codes("database_codes", files.database_codes, files, database_kind)
    addresses = {"query_labels": files.query_labels, "database_labels": files.database_labels}
    names = tuple(f"--{flag}={address}" for flag, address in addresses.items())
    labels = as_label_pair(*(_read_array(*each) for each in addresses.items()), names)
    codes = {
        f"--{query_flag}={query_address}": query.codes,
        f"--database_codes={files.database_codes}": database.codes,
    }
    check_together(codes, dict(zip(names, labels, strict=True)))
    query_labels, database_labels = labels
    facts = {
        query_flag: _facts(query_address, query.codes, query),
        "database_codes": _facts(files.database_codes, database.codes, database),
        "query_labels": _facts(files.query_labels, query_labels),
        "database_labels": _facts(files.database_labels, database_labels),
    }
    return _Inputs(query, database, query_labels, database_labels, facts)


def _check_output(folder: Path) -> None:
    """Refuses a directory that holds a run, or a metrics.json that no evaluation wrote."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--workdir={folder} is a file: give a directory")
    if (folder / "config.json").exists():
        raise UserError(f"--workdir={folder} holds a run: give another directory, or leave out the files of codes")
    if (folder / "metrics.json").exists():
        try:
            ours = "inputs" in json.loads((folder / "metrics.json").read_text())
        except ValueError:
            ours = False
        if not ours:
            raise UserError(f"--workdir={folder} holds a metrics.json that no evaluation wrote: give another directory")


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Makes the directory if needed, and holds its lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_directory(folder)
    except OSError as error:
        raise UserError(f"--workdir={folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        unlock_directory(folder, lock)


StopRequested = Callable[[], str | None]


def _measure(title: str, stop_requested: StopRequested, *arrays: np.ndarray, options: Options, **logits) -> dict:
    """`measure_codes` on all devices, with progress shown, until a signal asks to stop."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        progress = None

        def on_queries(done: int, total: int) -> None:
            nonlocal progress
            if name := stop_requested():
                raise RunStoppedError(f"{name}: stopped; nothing was written, the same command starts again")
            if progress is None:
                progress = stack.enter_context(terminal.StageProgress(title, total))
            progress.update(done)

        values = measure_codes(*arrays, options, devices=parallel.find_devices(), on_queries=on_queries, **logits)
    return values | {"seconds": round(time.monotonic() - started, 3)}


def evaluate_files(
    files: CodeFiles,
    workdir: Path,
    options: Options,
    on_inputs: Callable[[dict[str, dict]], None] = lambda facts: None,
    stop_requested: StopRequested = lambda: None,
) -> dict:
    """Measures codes of any software and writes metrics.json.

    Args:
      files: CodeFiles.
      workdir: directory of metrics.json; made if needed.
      options: Options.
      on_inputs: called with what was found in the files before anything is computed.
      stop_requested: asked between chunks for the name of a signal to stop.

    Returns:
      The content of metrics.json: definitions, inputs, and the numbers of `measure_codes`.

    Raises:
      UserError: the files, the options or the directory cannot be used; nothing is written.
      RunStoppedError: a stop was requested; nothing is written.
    """
    inputs = _read_inputs(files)
    check_options(options, len(inputs.database.codes))
    _check_output(workdir)
    on_inputs(inputs.facts)
    arrays = inputs.query.codes, inputs.database.codes, inputs.query_labels, inputs.database_labels
    with _only_writer(workdir):
        logits = {"query_logits": inputs.query.logits}
        title = f"evaluation, {inputs.query.codes.shape[1]} bits"
        values = _measure(title, stop_requested, *arrays, options=options, **logits)
        content = {"definitions": EVALUATION_DEFINITIONS, "inputs": inputs.facts} | values
        write_json(workdir / "metrics.json", content)
    return content


def _compare(run: FinishedRun, row: dict) -> None:
    """Refuses to go on where the run says another number: then the data are not what the run had."""
    same = [
        each
        for each in run.rows
        if all(each[name] == row[name] for name in ("role", "selector", "bits"))
        # Of several draws the run has the mean.
        and each["map_at"] == row["map_at"]
        and "map_sd" not in each
    ]
    for each in same:
        if each["map"] is None or abs(each["map"] - row["map"]) > _TOLERANCE:
            who = "the pool" if row["role"] == "pool" else row["selector"]
            raise UserError(
                f"{run.path}/metrics.json says mAP {each['map']} for {who} at {row['bits']} bits; its codes with the "
                f"labels of {row['dataset']} as they are now give {row['map']}: the data were changed"
            )


def _codes_and_labels(run: FinishedRun) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Codes of all bits and labels of a run's queries and database."""
    parts, codes = ("query", "database"), read_pool_codes(run)
    if missing := [part for part in parts if part not in codes]:
        raise UserError(f"{run.path}/codes/{missing[0]}.npy is not there: finish the run first by its own command")
    loaded = read_run_data(run)
    check_code_rows(run, codes, loaded.rows)
    return [codes[part] for part in parts], [loaded.labels(part) for part in parts]


def evaluate_run(
    workdir: Path, options: Options, *, all_ranks: bool = False, stop_requested: StopRequested = lambda: None
) -> dict:
    """Measures the pool of a finished run and the first draw of each of its selections, and writes eval.json.

    Args:
      workdir: the run's directory; its own files stay as they are.
      options: Options; where top_k is None, the run's own top_k.
      all_ranks: whether all ranks count, whatever the run's top_k.
      stop_requested: asked between chunks for the name of a signal to stop.

    Returns:
      The content of eval.json: definitions, inputs, and one result for each set of bits.

    Raises:
      UserError: no finished run, data that were changed, or options that do not fit; eval.json is not written.
      RunStoppedError: a stop was requested; eval.json is not written.
    """
    # Before the lock, whose files would be written into a directory of other things.
    if not is_run(workdir):
        raise UserError(f"--workdir={workdir} holds no run: give a run's directory, or --query_codes and the others")
    with _only_writer(workdir):
        run = read_finished_run(workdir)
        codes, labels = _codes_and_labels(run)
        if options.top_k is None and not all_ranks:
            options = options._replace(top_k=run.pool["map_at"])
        check_options(options, len(codes[1]))
        pool_bits = codes[0].shape[1]
        first_draws = {key: orders[0] for key, orders in run.orders.items()}
        results = []
        for (bits, selector), order in ({(pool_bits, "none"): list(range(pool_bits))} | first_draws).items():
            title = f"{bits} bits, {'the pool' if selector == 'none' else selector}"
            row = {"role": "pool" if selector == "none" else "selected", "selector": selector, "pool_bits": pool_bits}
            row |= {field: run.pool[field] for field in ("method", "dataset", "protocol", "seed", "encoder")}
            row |= _measure(title, stop_requested, *(each[:, order] for each in codes), *labels, options=options)
            _compare(run, row)
            results.append(row)
        files = ("codes/query.npy", "codes/database.npy", "split.npz")
        inputs = {name: {"file": name, "sha256": sha256_of(workdir / name)} for name in files}
        content = {"definitions": EVALUATION_DEFINITIONS, "inputs": inputs, "results": results}
        write_json(workdir / "eval.json", content)
    return content
