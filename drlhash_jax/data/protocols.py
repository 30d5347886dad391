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


class UnseenClasses(NamedTuple):
    """Some classes are never trained on and make all queries: what codes are worth for classes that come later.

    Supervised codes are known to fail there (Sablayrolles et al., ICASSP 2017). Which classes is drawn. The database is
    all rows but the queries, less the training rows where `train_in_database` is false. Of multi-label data, rows with
    any unseen label are not trained on, and queries are drawn from them; see `query_labels` for what is relevant.

    Attributes:
      query: query rows per unseen class.
      train: training rows per seen class.
      train_in_database: whether training rows are also searched.
      unseen: number of unseen classes.
    """

    query: int
    train: int
    train_in_database: bool
    unseen: int


class PublishedLists(NamedTuple):
    """The index lists that come with the dataset, under the protocol's name or as those of source "lists"."""


Protocol = ClassBalanced | RandomRows | ConceptBalanced | UnseenClasses | PublishedLists

# As in the literature: C for CIFAR-10, N for NUS-WIDE (m: HashNet's copy of it), CO for MS-COCO.
PROTOCOLS: dict[str, Protocol] = {
    "C-54": ClassBalanced(100, 500, False),
    "C-59": ClassBalanced(100, 500, True),
    "C-II": ClassBalanced(1000, 5000, True),
    "C-A": ClassBalanced(100, 5900, True),
    "C-8+2": UnseenClasses(500, 500, False, 2),
    "N-21": ConceptBalanced(100, 500, True),
    "N-21-list": PublishedLists(),
    "N-21m": PublishedLists(),
    "N-81m": PublishedLists(),
    "CO": PublishedLists(),
    "CO-deephash": PublishedLists(),
    "lists": PublishedLists(),
}
# These take their numbers from the settings.
CONFIGURED = {
    "balanced": ClassBalanced,
    "concepts": ConceptBalanced,
    "random": RandomRows,
    "unseen": UnseenClasses,
}
_MOST_ROWS = 10**9


@dataclasses.dataclass(frozen=True)
class ProtocolSettings(Settings):
    """Which split is drawn; part of `config.data`. The sizes count for the protocols in `CONFIGURED` alone."""

    protocol: str = setting(
        "balanced", "named split, or one that takes the numbers below", choices=(*PROTOCOLS, *CONFIGURED)
    )
    query: int = setting(
        20,
        "query rows, per class (balanced), concept (concepts), unseen class (unseen) or in all (random)",
        least=1,
        most=_MOST_ROWS,
    )
    train: int = setting(
        50,
        "training rows, per class (balanced), concept (concepts), seen class (unseen) or in all (random)",
        least=1,
        most=_MOST_ROWS,
    )
    train_in_database: bool = setting(
        False, "whether training rows are also searched (balanced, concepts, random, unseen)"
    )
    unseen_classes: int = setting(
        2, "classes that are not trained on and make the queries (unseen)", least=1, most=10_000
    )
    validation: float = setting(
        0.0,
        "share of the training rows that stand in for queries and database while settings are chosen; 0 for the "
        "protocol itself",
        least=0.0,
        most=0.9,
    )


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
    "C-8+2": Counts(1_000, 4_000, 55_000, 10),
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


def query_labels(labels: np.ndarray, split: Split) -> np.ndarray:
    """Labels that a split's queries are judged by.

    Queries of unseen classes with several labels have seen ones beside the unseen: a row that shares only those says
    nothing about classes that come later. So labels that no training row has are what counts there.

    Args:
      labels: of all rows, ``[M]`` or multi-hot ``[M, C]``.
      split: Split.

    Returns:
      ``[Q]``, or multi-hot ``[Q, C]``.
    """
    found = labels[split.query]
    if labels.ndim == 1 or not split.protocol.startswith("unseen-"):
        return found
    seen = (labels[split.train] != 0).any(axis=0)
    return np.where(seen[None, :], np.zeros((), labels.dtype), found)


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
    unseen = (settings.unseen_classes,) if CONFIGURED[name] is UnseenClasses else ()
    full_name = "-".join(map(str, (name, *unseen, query, train, "all" if in_database else "rest")))
    return full_name, CONFIGURED[name](query, train, in_database, *unseen)


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


def _unseen_rows(dataset: Dataset, protocol: UnseenClasses, rng: np.random.Generator, name: str):
    labels = dataset.labels
    has = labels != 0 if labels.ndim == 2 else labels[:, None] == np.unique(labels[labels >= 0])[None, :]
    order = rng.permutation(has.shape[1])
    unseen, seen = order[: protocol.unseen], order[protocol.unseen :]
    if len(seen) < 2:
        raise UserError(
            f"protocol {name} leaves {len(seen)} of {has.shape[1]} classes to train on: it needs two or more"
        )
    new = has[:, unseen].any(axis=1)
    if labels.ndim == 2:
        wanted = [(new, protocol.query * len(unseen))], [(has.any(axis=1) & ~new, protocol.train * len(seen))]
    else:
        wanted = [(has[:, each], protocol.query) for each in unseen], [(has[:, each], protocol.train) for each in seen]

    def draw(groups: list[tuple[np.ndarray, int]], kind: str) -> np.ndarray:
        drawn = []
        for mask, count in groups:
            rows = rng.permutation(np.flatnonzero(mask))[:count]
            if len(rows) < count:
                raise UserError(f"protocol {name} needs {count} {kind} rows, and there are {len(rows)}{_remedy(name)}")
            drawn.append(rows)
        return np.sort(np.concatenate(drawn))

    return draw(wanted[0], "query"), draw(wanted[1], "training")


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
    elif isinstance(protocol, UnseenClasses):
        query, train = _unseen_rows(dataset, protocol, rng, name)
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


def validation_split(split: Split, share: float, seed: int) -> Split:
    """Queries and database made of training rows, for choosing settings without a look at what is reported.

    Args:
      split: Split.
      share: of the training rows that are held out; a third of these become the queries, the others the database.
      seed: of the draw.

    Returns:
      Split of the training rows alone, its protocol's name ending in "-validation".

    Raises:
      UserError: too few training rows.
    """
    rows = np.random.default_rng([seed, 1]).permutation(split.train)
    held_out = round(share * len(rows))
    num_queries = held_out // 3
    if not 0 < num_queries < held_out < len(rows):
        raise UserError(f"data.validation={share}: {len(rows)} training rows are too few for it")
    parts = rows[:num_queries], rows[held_out:], rows[num_queries:held_out]
    return Split(f"{split.protocol}-validation", *map(np.sort, parts))
