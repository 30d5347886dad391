"""Labelled rows of the database that grows: from the run that made its model, from files, or as a growth kept them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax import data
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays, write_arrays, write_json
from drlhash_jax.growth.labels import Labels, number_labels
from drlhash_jax.growth.rows import read_rows
from drlhash_jax.runs.finished import is_run, read_finished_run, read_run_data
from drlhash_jax.runs.stored_config import read_object
from drlhash_jax.serving.models import ServedModel

FACTS, ROWS = "growth.json", "growth.npz"
# Old rows that a network learns from, that it is measured on, and that it is measured among.
MOST_LEARNT, MOST_QUERIES, MOST_SEARCHED = 2_000, 1_000, 5_000
# Of rows that nobody has divided, one in so many is held out.
HELD_OUT = 10

# Inputs [n, ...] -> codes uint8 [n, K], as rows of the database.
Coder = Callable[[Any], np.ndarray]


class Known(NamedTuple):
    """Labelled rows with their codes; labels are multi-hot uint8 ``[., C]``.

    Attributes:
      classes: names of the C classes.
      single: whether every row has one label.
      inputs: ``[m, ...]`` as stored, of the rows to learn from.
      labels: of these.
      codes: uint8 ``[m, K]`` of these.
      query_inputs: of the rows that were held out.
      query_labels: of these.
      searched_labels: of the rows that these are searched in.
      searched_codes: uint8 of these.
    """

    classes: tuple[str, ...]
    single: bool
    inputs: np.ndarray
    labels: np.ndarray
    codes: np.ndarray
    query_inputs: np.ndarray
    query_labels: np.ndarray
    searched_labels: np.ndarray
    searched_codes: np.ndarray

    def widened(self, classes: tuple[str, ...]) -> "Known":
        """The same with columns for further classes."""
        more = lambda labels: np.pad(labels, ((0, 0), (0, len(classes) - labels.shape[1])))
        return self._replace(
            classes=classes,
            labels=more(self.labels),
            query_labels=more(self.query_labels),
            searched_labels=more(self.searched_labels),
        )


def draw(rng: np.random.Generator, rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of some row numbers, at random, in their order."""
    return np.sort(rng.permutation(rows)[:most])


def _known(inputs: Any, labels: Labels, parts: tuple[np.ndarray, np.ndarray, np.ndarray], code: Coder) -> Known:
    """Known rows of a dataset; parts are the rows to learn from, to search for, and to search in."""
    rng = np.random.default_rng(0)
    labelled = labels.rows.any(axis=1)
    limits = MOST_LEARNT, MOST_QUERIES, MOST_SEARCHED
    learnt, query, searched = (draw(rng, rows[labelled[rows]], most) for rows, most in zip(parts, limits))
    taken = np.asarray(data.select_rows(inputs, learnt)[:])
    return Known(
        *(labels.classes, labels.single, taken, labels.rows[learnt], code(taken)),
        *(np.asarray(data.select_rows(inputs, query)[:]), labels.rows[query]),
        *(labels.rows[searched], code(np.asarray(data.select_rows(inputs, searched)[:]))),
    )


def known_of_run(folder: Path, code: Coder) -> Known:
    """Rows of the run that made a model: trained on, queries, and database, each as far as they have labels.

    Raises:
      UserError: the run is not finished, or its data are gone or changed.
    """
    run = read_finished_run(folder)
    loaded = read_run_data(run)
    found, stored = data.input_digest(loaded.dataset), run.facts.get("inputs", {})
    if changed := [name for name, digest in found.items() if stored.get(name, digest) != digest]:
        raise UserError(f"the {changed[0]} that {folder} was made of have changed since")
    labels = number_labels(loaded.dataset.labels, loaded.dataset.classes)
    split = loaded.split
    return _known(loaded.dataset.inputs, labels, (split.train, split.query, split.database), code)


def known_of_files(served: ServedModel, inputs: str, labels: str, code: Coder) -> Known:
    """Rows that were brought; one in ten is held out, whether the old model has learnt from it or not.

    Raises:
      UserError: see `read_rows`.
    """
    rows = read_rows(served, inputs, labels, "old")
    named = number_labels(rows.labels, rows.classes)
    order = np.random.default_rng(1).permutation(len(named.rows))
    held_out, others = np.split(order, [len(order) // HELD_OUT])
    return _known(rows.inputs, named, (others, held_out, others), code)


def write_known(folder: Path, known: Known, facts: dict) -> None:
    """Keeps what the next growth needs beside a model."""
    arrays = {name: value for name, value in known._asdict().items() if name not in ("classes", "single")}
    write_arrays(folder / ROWS, arrays)
    write_json(folder / FACTS, {"classes": list(known.classes), "single": known.single} | facts)


def _read_known(folder: Path) -> Known:
    facts = read_object(folder / FACTS)
    try:
        return Known(tuple(facts["classes"]), bool(facts["single"]), **read_arrays(folder / ROWS))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{folder / ROWS} is damaged, or {FACTS} is: {error}") from error


def find_known(served: ServedModel, old: str | None, old_labels: str | None, code: Coder) -> Known:
    """Labelled rows of a model's database: those that are given, else those that are recorded beside the model.

    Args:
      served: the model.
      old: rows that it was fitted on, see `read_rows`; None for what is recorded.
      old_labels: their labels.
      code: Coder.

    Raises:
      UserError: nothing is recorded, or it cannot be read any more.
    """
    if old:
        return known_of_files(served, old, old_labels or "", code)
    folder = served.folder.parent
    if (folder / FACTS).is_file():
        return _read_known(folder)
    if served.folder.name != "model" or not is_run(folder):
        raise UserError(f"{served.folder} says nothing of the rows that it learnt from: give them by --old")
    try:
        return known_of_run(folder, code)
    except UserError as error:
        raise UserError(f"{error}; give the rows that the model was fitted on by --old") from error
