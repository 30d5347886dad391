"""Named splits: which rows are queries, training rows and database. Numbers of two protocols are never compared.

A split is a function of (dataset, protocol, seed). Its query rows are used for nothing but the reported numbers.
"""

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

from drlhash_jax.data.dataset import Dataset
from drlhash_jax.errors import UserError
from drlhash_jax.settings import Settings, setting


class ClassBalanced(NamedTuple):
    """The same number of random rows of each class; single-label data.

    Attributes:
      query: query rows per class.
      train: training rows per class.
      train_in_database: whether training rows are also searched. The database is all rows but the queries, less the
        training rows where this is false.
    """

    query: int
    train: int
    train_in_database: bool


class RandomRows(NamedTuple):
    """A number of random rows, whatever their labels; fields as in `ClassBalanced`, counted over all rows."""

    query: int
    train: int
    train_in_database: bool


class ConceptBalanced(NamedTuple):
    """The same number of random rows for each concept of multi-label data, no row twice.

    Fields as in `ClassBalanced`, counted per concept. Queries are drawn first. Concepts take turns from the rarest to
    the most frequent, which finds enough rows for each.
    """

    query: int
    train: int
    train_in_database: bool


class PublishedLists(NamedTuple):
    """The index lists that come with the dataset, under the protocol's name or as those of source "lists"."""


Protocol = ClassBalanced | RandomRows | ConceptBalanced | PublishedLists

# As in the literature: C for CIFAR-10, N for NUS-WIDE (m: HashNet's copy of it), CO for MS-COCO.
PROTOCOLS: dict[str, Protocol] = {
    "C-54": ClassBalanced(100, 500, False),
    "C-59": ClassBalanced(100, 500, True),
    "C-II": ClassBalanced(1000, 5000, True),
    "C-A": ClassBalanced(100, 5900, True),
    "N-21": ConceptBalanced(100, 500, True),
    "N-21-list": PublishedLists(),
    "N-21m": PublishedLists(),
    "N-81m": PublishedLists(),
    "CO": PublishedLists(),
    "CO-deephash": PublishedLists(),
    "lists": PublishedLists(),
}
# These take their numbers from the settings.
CONFIGURED = {"balanced": ClassBalanced, "concepts": ConceptBalanced, "random": RandomRows}
_MOST_ROWS = 10**9


@dataclasses.dataclass(frozen=True)
class ProtocolSettings(Settings):
    """Which split is drawn; part of `config.data`. The numbers count for the protocols in `CONFIGURED` alone."""

    protocol: str = setting(
        "balanced", "named split, or one that takes the three numbers below", choices=(*PROTOCOLS, *CONFIGURED)
    )
    query: int = setting(
        20, "query rows, per class (balanced), per concept (concepts) or in all (random)", least=1, most=_MOST_ROWS
    )
    train: int = setting(
        50, "training rows, per class (balanced), per concept (concepts) or in all (random)", least=1, most=_MOST_ROWS
    )
    train_in_database: bool = setting(False, "whether training rows are also searched (balanced, concepts, random)")


class Counts(NamedTuple):
    """What a protocol's name promises.

    Attributes:
      query: rows.
      train: rows.
      database: rows; None where the literature does not say.
      classes: classes or label columns.
    """

    query: int
    train: int
    database: int | None
    classes: int


PUBLISHED_COUNTS = {
    "C-54": Counts(1_000, 5_000, 54_000, 10),
    "C-59": Counts(1_000, 5_000, 59_000, 10),
    "C-II": Counts(10_000, 50_000, 50_000, 10),
    "C-A": Counts(1_000, 59_000, 59_000, 10),
    "N-21": Counts(2_100, 10_500, 193_734, 21),
    "N-21-list": Counts(2_100, 10_500, 193_734, 21),
    "N-21m": Counts(2_100, 10_500, None, 21),
    "N-81m": Counts(5_000, 10_000, 168_692, 81),
    "CO": Counts(5_000, 10_000, 117_218, 80),
    "CO-deephash": Counts(5_000, 10_000, 117_218, 80),
}


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


def find_protocol(settings: ProtocolSettings) -> tuple[str, Protocol]:
    """The full name of a protocol, with its numbers if it is a configured one, and the protocol."""
    name = settings.protocol
    if name in PROTOCOLS:
        return name, PROTOCOLS[name]
    query, train, in_database = settings.query, settings.train, settings.train_in_database
    full_name = f"{name}-{query}-{train}-{'all' if in_database else 'rest'}"
    return full_name, CONFIGURED[name](query, train, in_database)


def _remedy(name: str) -> str:
    """What to do where rows are too few; the numbers of named protocols cannot be changed."""
    return "" if name in PROTOCOLS else ": lower --config.data.query or --config.data.train"


def _balanced_rows(dataset: Dataset, protocol: ClassBalanced, rng: np.random.Generator, name: str):
    labels = dataset.labels
    if labels.ndim != 1:
        raise UserError(f"protocol {name} balances classes and needs one label per row; use protocol random")
    query, train = [], []
    for label in np.unique(labels[labels >= 0]):
        rows = rng.permutation(np.flatnonzero(labels == label))
        needed = protocol.query + protocol.train
        if len(rows) < needed:
            called = dataset.classes[label] if dataset.classes else label
            found = f"class {called} has {len(rows)}{_remedy(name)}"
            raise UserError(f"protocol {name} needs {needed} rows per class, {found}")
        query.append(rows[: protocol.query])
        train.append(rows[protocol.query : needed])
    return np.sort(np.concatenate(query)), np.sort(np.concatenate(train))


def _concept_rows(labels: np.ndarray, protocol: ConceptBalanced, rng: np.random.Generator, name: str):
    if labels.ndim != 2:
        raise UserError(f"protocol {name} draws by concept and needs multi-hot labels; use protocol balanced")
    free = np.ones(len(labels), bool)
    parts = []
    for count in (protocol.query, protocol.train):
        drawn = []
        for concept in np.argsort(labels.sum(axis=0), kind="stable"):
            rows = rng.permutation(np.flatnonzero(free & (labels[:, concept] != 0)))[:count]
            if len(rows) < count:
                found = f"{len(rows)} are left{_remedy(name)}"
                raise UserError(f"protocol {name} needs {count} more rows of concept {concept}, {found}")
            free[rows] = False
            drawn.append(rows)
        parts.append(np.sort(np.concatenate(drawn)))
    return parts


def _random_rows(num_rows: int, protocol: RandomRows, rng: np.random.Generator, name: str):
    needed = protocol.query + protocol.train
    if num_rows < needed:
        raise UserError(f"protocol {name} needs {needed} rows, the dataset has {num_rows}{_remedy(name)}")
    rows = rng.permutation(num_rows)
    return np.sort(rows[: protocol.query]), np.sort(rows[protocol.query : needed])


def _draw(dataset: Dataset, name: str, protocol: Protocol, seed: int) -> Split:
    num_rows = len(dataset.labels)
    rng = np.random.default_rng(seed)
    if isinstance(protocol, ClassBalanced):
        query, train = _balanced_rows(dataset, protocol, rng, name)
    elif isinstance(protocol, ConceptBalanced):
        query, train = _concept_rows(dataset.labels, protocol, rng, name)
    else:
        query, train = _random_rows(num_rows, protocol, rng, name)
    left_out = query if protocol.train_in_database else np.concatenate([query, train])
    database = np.setdiff1d(np.arange(num_rows), left_out)
    if not len(database):
        raise UserError(f"protocol {name} leaves no row of {dataset.name} for the database{_remedy(name)}")
    return Split(name, query, train, database)


def _published(dataset: Dataset, name: str) -> Split:
    lists = dataset.lists.get(name, dataset.lists.get("lists"))
    if lists is None:
        raise UserError(f"protocol {name} is a published list, and {dataset.name} does not come with one")
    return Split(name, *(rows.astype(np.int64) for rows in lists))


def _check_split(dataset: Dataset, split: Split) -> None:
    """Asserts that no query is trained on or searched, and that a name of the literature is what it says."""
    name = split.protocol
    for part, rows in (("training", split.train), ("database", split.database)):
        if np.intersect1d(split.query, rows).size:
            raise UserError(f"protocol {name}: queries are also {part} rows of {dataset.name}")
    for part, rows in (("query", split.query), ("training", split.train), ("database", split.database)):
        if len(np.unique(rows)) < len(rows):
            raise UserError(f"protocol {name}: {part} rows of {dataset.name} are listed twice")
    expected = PUBLISHED_COUNTS.get(name)
    if expected is None:
        return
    labels = dataset.labels
    classes = labels.shape[1] if labels.ndim == 2 else len(np.unique(labels[labels >= 0]))
    found = Counts(len(split.query), len(split.train), len(split.database), classes)
    differing = [
        f"{field} {have}, not {want}"
        for field, have, want in zip(Counts._fields, found, expected)
        if want is not None and have != want
    ]
    if differing:
        left_out = ""
        if dataset.skipped:
            left_out = f" ({len(dataset.skipped)} files left out, first {': '.join(dataset.skipped[0])})"
        raise UserError(
            f"protocol {name} on {dataset.name}{left_out} would have {'; '.join(differing)}: "
            "use a protocol without a published name (lists, balanced, concepts, random)"
        )


def make_split(dataset: Dataset, name: str, protocol: Protocol, seed: int) -> Split:
    """Draws a split, or takes the published one.

    Args:
      dataset: Dataset of N rows.
      name: the protocol's full name.
      protocol: Protocol.
      seed: of the draw; published lists ignore it.

    Returns:
      Split, whose queries are neither training nor database rows.

    Raises:
      UserError: the dataset has too few rows, does not come with published lists, or has other counts than those that
        the protocol's name stands for.
    """
    is_published = isinstance(protocol, PublishedLists)
    split = _published(dataset, name) if is_published else _draw(dataset, name, protocol, seed)
    _check_split(dataset, split)
    return split
