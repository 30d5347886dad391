"""One training on your own data: which method, which codes, and how good they are on rows that were kept back."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from drlhash_jax import bundles
from drlhash_jax.errors import UserError
from drlhash_jax.fitting.own_data import embeddings_config, images_config
from drlhash_jax.pipeline import train_and_evaluate
from drlhash_jax.runs.finished import read_finished_run, read_pool_codes, read_run_data

# Rows that a user looks at.
_NEAREST = 10
# Kernel ridge regression, which makes `erh` good, costs the cube of this.
_MOST_ERH_ROWS = 5_000


class Choice(NamedTuple):
    """What a user may choose; the rest follows from the data.

    Attributes:
      bits: K, length of the codes.
      method: a key of `METHODS`; "" for the usual one, see `embeddings_fit` and `images_fit`.
      seed: of the split and of everything random.
    """

    bits: int = 64
    method: str = ""
    seed: int = 0


class Fitted(NamedTuple):
    """How good the codes of a fitted model are, on rows that it was not trained on.

    Attributes:
      model: directory of the run, which `serving.load` takes.
      row: the result row of metrics.json: method, bits, map, map_interval, n_query, n_database and others.
      nearest: rows behind `precision`, 10 where there are as many.
      precision: mean share of the rows nearest to a query, as `bundles.search` finds them, that share a label with it;
        None where no query has a label.
      possible: what `precision` would be if all rows with a label in common came first; below 1 where a class has fewer
        rows than that.
      train: number of rows that were trained on.
    """

    model: Path
    row: dict
    nearest: int
    precision: float | None
    possible: float | None
    train: int


def _configured(config: ConfigDict, choice: Choice) -> ConfigDict:
    config.pool_bits = choice.bits
    config.bits = (choice.bits,)
    config.seed = choice.seed
    config.last_stage = "encoder"
    return config


def _use_usual(config: ConfigDict) -> None:
    """The method of embeddings that nobody has chosen one for.

    64 bits, half of the rows trained on: share of right labels among the 10 nearest, and mAP. The first takes 46 s of
    CPU by `erh` and 16 s by `hashnet`, compilation included. ERH with its own settings reaches .881 and .873 there in
    more than twice the time; without kernel ridge regression it falls to .467 and .377.

    | rows                               | hashnet   | erh as below |
    |------------------------------------|-----------|--------------|
    | 5,000 x 512, made up, 10 classes   | .800 .658 | .846 .835    |
    | 5,000 x 256, CIFAR-10's embeddings | .679 .607 | .684 .631    |
    | 1,797 x 64, digits                 | .977 .972 | .983 .988    |
    """
    if config.data.train > _MOST_ERH_ROWS:
        config.method = "hashnet"
        return
    config.method = "erh"
    config.erh.num_folds = 2
    config.erh.num_steps = 200
    config.erh.pair_steps = 50
    config.erh.code_batch = 250


def embeddings_fit(embeddings: str, labels: str, choice: Choice) -> ConfigDict:
    """The configuration of a model of embeddings.

    Args:
      embeddings: address of an array ``[N, D]``, see `data.read_array`.
      labels: address of integers ``[N]``, negative for none, or multi-hot ``[N, C]``.
      choice: Choice; the usual method is `erh` with few steps, beyond 5,000 training rows `hashnet`.

    Raises:
      UserError: the labels cannot be read, or there are too few.
    """
    try:
        config = embeddings_config(embeddings, labels)
    except UserError as error:
        raise UserError(f"--labels: {error}") from error
    if choice.method:
        config.method = choice.method
    else:
        _use_usual(config)
    return _configured(config, choice)


def images_fit(folder: str, choice: Choice) -> ConfigDict:
    """The configuration of a model of images, of which the folder has a sub-folder for each class.

    Args:
      folder: it.
      choice: Choice; the usual method is that of `images_config`.

    Raises:
      UserError: no such folder, no sub-folders, or too few images.
    """
    try:
        config = images_config(folder)
    except UserError as error:
        raise UserError(f"--images: {error}") from error
    config.method = choice.method or config.method
    return _configured(config, choice)


def right_labels(query: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Whether rows that were found share a label with their query.

    Args:
      query: class numbers ``[Q]``, negative for none, or multi-hot ``[Q, C]``.
      found: the same of k rows for each query, ``[Q, k]`` or ``[Q, k, C]``.

    Returns:
      bool ``[q, k]``, of the queries that have a label.
    """
    if query.ndim == 2:
        labelled = query.any(axis=1)
        return (found[labelled] & query[labelled, None]).any(axis=2)
    labelled = query >= 0
    return found[labelled] == query[labelled, None]


def count_right(query: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Numbers int64 ``[q]`` of rows that share a label with a query, of queries that have one; see `right_labels`."""
    if query.ndim == 2:
        return np.array([np.count_nonzero((database & row).any(axis=1)) for row in query if row.any()], np.int64)
    query = query[query >= 0]
    return np.bincount(database[database >= 0], minlength=query.max(initial=0) + 1)[query]


def _shares_of_right(model: Path, nearest: int) -> tuple[float | None, float | None]:
    """`Fitted.precision` and `Fitted.possible`, of the codes that a finished run has stored."""
    run = read_finished_run(model)
    packed = {part: np.packbits(codes, axis=1) for part, codes in read_pool_codes(run).items()}
    loaded = read_run_data(run)
    labels = loaded.labels("query"), loaded.labels("database")
    _, rows = bundles.search(packed["query"], packed["database"], nearest)
    right = right_labels(labels[0], labels[1][rows])
    if not right.size:
        return None, None
    return float(right.mean()), float(np.minimum(count_right(*labels), nearest).mean() / nearest)


def fit(config: ConfigDict, model: str | Path, stop_requested: Callable[[], str | None] = lambda: None) -> Fitted:
    """Trains what a configuration says, or what an earlier call left undone, and measures it on rows kept back.

    Args:
      config: of `embeddings_fit` or `images_fit`.
      model: directory of the run; created if needed.
      stop_requested: asked between steps for the name of a signal to stop.

    Returns:
      Fitted.

    Raises:
      UserError: the data, the choice or the directory cannot work.
      FloatingPointError: a loss stopped being finite.
      RunStoppedError: a stop was requested; what is done is saved.
    """
    (row,) = train_and_evaluate(config, str(model), stop_requested)
    nearest = min(_NEAREST, row["n_database"])
    return Fitted(Path(model), row, nearest, *_shares_of_right(Path(model), nearest), config.data.train)
