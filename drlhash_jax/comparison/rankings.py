"""What a finished run is worth by three rankings: Hamming distance, real-valued queries, real values on both sides."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import data, retrieval, runs
from drlhash_jax.posteriors import unit_rows
from drlhash_jax.runs.finished import read_finished_run, read_pool_codes, read_run_data
from drlhash_jax.training import encode_logits

# Name -> what a query needs, and what is stored for a row of the database.
RANKINGS = {
    "hamming": "codes on both sides, ranked by Hamming distance",
    "asymmetric": "the query's logits against codes of the database, ranked by inner product",
    "real": "logits on both sides, ranked by cosine: what binarisation takes away",
}


class Labels(NamedTuple):
    """Labels of the queries ``[Q]`` or ``[Q, C]``, and of the database ``[N]`` or ``[N, C]``."""

    query: np.ndarray
    database: np.ndarray


def counted(ranked: retrieval.RankedQueries) -> np.ndarray:
    """Average precisions float32 ``[M]`` of the queries that have a relevant row."""
    return ranked.average_precision[ranked.relevant > 0]


def rank_by_signs(logits: np.ndarray, codes: np.ndarray, labels: Labels, top_k: int | None) -> np.ndarray:
    """Average precisions of inner products of logits ``[Q, K]`` with the signs of codes ``[N, K]``; see `counted`.

    Rows of one code get one score, so that the expectation over ties sees them as equal.
    """
    distinct, places = np.unique(codes, axis=0, return_inverse=True)
    signs = 2.0 * distinct.T.astype(np.float32) - 1.0
    places = places.reshape(-1)
    return counted(retrieval.score_queries(lambda a, b: (logits[a:b] @ signs)[:, places], *labels, top_k=top_k))


def rank_by_cosine(query: np.ndarray, database: np.ndarray, labels: Labels, top_k: int | None) -> np.ndarray:
    """Average precisions of cosines of vectors ``[Q, D]`` and ``[N, D]``; see `counted`."""
    query, database = unit_rows(query), unit_rows(database)
    return counted(retrieval.score_queries(lambda a, b: query[a:b] @ database.T, *labels, top_k=top_k))


def rank_run(folder: Path, load_dataset: Callable[..., data.Dataset] = data.load_dataset) -> dict[str, np.ndarray]:
    """Average precisions of a finished run's queries.

    Args:
      folder: directory of the run.
      load_dataset: as in `read_run_data`.

    Returns:
      Name of `RANKINGS` -> float32 ``[M]``, the queries that have a relevant row, in their order.

    Raises:
      UserError: the run or its data cannot be read.
    """
    run = read_finished_run(folder)
    found, codes, model = read_run_data(run, load_dataset), read_pool_codes(run), runs.load_model(folder / "model")
    labels, top_k = Labels(found.labels("query"), found.labels("database")), run.pool["map_at"]
    logits = {
        part: encode_logits(
            model.method.logits_for(part),
            model.params,
            data.select_rows(found.dataset.inputs, found.rows[part]),
            model.spec,
        )
        for part in ("query", "database")
    }
    return {
        "hamming": retrieval.query_precisions(codes["query"], codes["database"], *labels, top_k=top_k),
        "asymmetric": rank_by_signs(logits["query"], codes["database"], labels, top_k),
        "real": rank_by_cosine(logits["query"], logits["database"], labels, top_k),
    }
