"""Named splits: which rows are queries, training rows and database. Numbers of two protocols are never compared.

A split is a function of (dataset, protocol, seed). Its query rows are used for nothing but the reported numbers.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from drlhash_jax.data.sources import Dataset
from drlhash_jax.types import UserError


class ClassBalanced(NamedTuple):
    """The same number of random rows of each class; single-label data.

    Attributes:
      query: query rows a class.
      train: training rows a class.
      train_in_database: whether training rows are also searched. The database is all rows but the queries, less the
        training rows where this is false.
    """

    query: int
    train: int
    train_in_database: bool


class RandomRows(NamedTuple):
    """A number of random rows, whatever their labels; the fields as in `ClassBalanced`, counted over all rows."""

    query: int
    train: int
    train_in_database: bool


class PublishedLists(NamedTuple):
    """The index lists that come with the dataset."""


Protocol = ClassBalanced | RandomRows | PublishedLists

# CIFAR-10 and COCO protocols as the literature uses them; "balanced" and "random" take their numbers from the config.
PROTOCOLS: dict[str, Protocol] = {
    "C-54": ClassBalanced(100, 500, False),
    "C-59": ClassBalanced(100, 500, True),
    "C-II": ClassBalanced(1000, 5000, True),
    "C-A": ClassBalanced(100, 5900, True),
    "CO": PublishedLists(),
}
CONFIGURED = {"balanced": ClassBalanced, "random": RandomRows}


class Split(NamedTuple):
    """Row numbers of a split.

    Attributes:
      protocol: its name; configured protocols carry their numbers, e.g. "balanced-20-50-rest".
      query: int64 ``[Q]``.
      train: int64 ``[n]``.
      database: int64 ``[N]``.
    """

    protocol: str
    query: np.ndarray
    train: np.ndarray
    database: np.ndarray


def split_digest(split: Split) -> str:
    """SHA-256 of the protocol's name and the three index arrays, as hexadecimal digits."""
    digest = hashlib.sha256(split.protocol.encode())
    for rows in (split.query, split.train, split.database):
        digest.update(len(rows).to_bytes(8, "little"))
        digest.update(rows.astype("<i8").tobytes())
    return digest.hexdigest()


def find_protocol(name: str, query: int, train: int, train_in_database: bool) -> tuple[str, Protocol]:
    """A protocol and its full name; the numbers count for "balanced" and "random" alone."""
    if name in PROTOCOLS:
        return name, PROTOCOLS[name]
    full_name = f"{name}-{query}-{train}-{'all' if train_in_database else 'rest'}"
    return full_name, CONFIGURED[name](query, train, train_in_database)


def _balanced_rows(labels: np.ndarray, protocol: ClassBalanced, rng: np.random.Generator, name: str):
    if labels.ndim != 1:
        raise UserError(f"protocol {name} balances classes and needs one label a row; use protocol random")
    query, train = [], []
    for label in np.unique(labels[labels >= 0]):
        rows = rng.permutation(np.flatnonzero(labels == label))
        needed = protocol.query + protocol.train
        if len(rows) < needed:
            raise UserError(f"protocol {name} needs {needed} rows a class, class {label} has {len(rows)}")
        query.append(rows[: protocol.query])
        train.append(rows[protocol.query : needed])
    return np.sort(np.concatenate(query)), np.sort(np.concatenate(train))


def _random_rows(num_rows: int, protocol: RandomRows, rng: np.random.Generator, name: str):
    needed = protocol.query + protocol.train
    if num_rows < needed:
        raise UserError(f"protocol {name} needs {needed} rows, the dataset has {num_rows}")
    rows = rng.permutation(num_rows)
    return np.sort(rows[: protocol.query]), np.sort(rows[protocol.query : needed])


def make_split(dataset: Dataset, name: str, protocol: Protocol, seed: int) -> Split:
    """Draws a split.

    Args:
      dataset: Dataset of N rows.
      name: the protocol's full name.
      protocol: Protocol.
      seed: of the draw; published lists ignore it.

    Returns:
      Split, whose queries are neither training nor database rows.

    Raises:
      UserError: the dataset has too few rows, or does not come with published lists.
    """
    num_rows = len(dataset.labels)
    rng = np.random.default_rng(seed)
    if isinstance(protocol, PublishedLists):
        if name not in dataset.lists:
            raise UserError(f"protocol {name} is a published list, and {dataset.name} does not come with one")
        query, train, database = (rows.astype(np.int64) for rows in dataset.lists[name])
    else:
        if isinstance(protocol, ClassBalanced):
            query, train = _balanced_rows(dataset.labels, protocol, rng, name)
        else:
            query, train = _random_rows(num_rows, protocol, rng, name)
        left_out = query if protocol.train_in_database else np.concatenate([query, train])
        database = np.setdiff1d(np.arange(num_rows), left_out)
        if not len(database):
            raise UserError(f"protocol {name} leaves no row of {dataset.name} for the database")
    for part, rows in (("training", train), ("database", database)):
        if np.intersect1d(query, rows).size:
            raise UserError(f"protocol {name}: queries are also {part} rows of {dataset.name}")
    return Split(name, query, train, database)
