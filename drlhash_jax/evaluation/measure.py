"""Every number of an evaluation, from one pass by distance, one in database order, and one by logits if there are any.

The passes are shared: another denominator or convention costs arithmetic per query, not a walk over the database.
"""

import difflib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from drlhash_jax import parallel, retrieval
from drlhash_jax.codes import count_unlabelled
from drlhash_jax.errors import UserError
from drlhash_jax.evaluation.numbers import LEVEL, RESAMPLES, mean_intervals, rounded
from drlhash_jax.evaluation.summary import summarise_health

ALL = "all"
# Field -> name of the per-query values that it is the mean of.
_TIES = {
    "map": "average_precision",
    "map_pessimistic": "average_precision_pessimistic",
    "map_optimistic": "average_precision_optimistic",
}

OnQueries = Callable[[int, int], None]


class Options(NamedTuple):
    """What is measured.

    Attributes:
      top_k: ranks that count for mean average precision; None for all.
      ranks: N of precision, recall and NDCG; None for `retrieval.RANKS` as far as the database reaches.
      reproduce: conventions of other repositories, names or `ALL`.
      seed: of the bootstrap.
    """

    top_k: int | None = None
    ranks: tuple[int, ...] | None = None
    reproduce: tuple[str, ...] = ()
    seed: int = 0


def check_options(options: Options, num_rows: int) -> None:
    """Refuses options that a database of `num_rows` rows cannot answer.

    Raises:
      UserError: one line that names the flag.
    """
    if options.top_k is not None and not 1 <= options.top_k <= num_rows:
        raise UserError(f"--top_k={options.top_k}: the database has only {num_rows} rows; 0 is for all")
    for rank in options.ranks or ():
        if not 1 <= rank <= num_rows:
            raise UserError(f"--ranks: {rank} is not a rank of the database, which has {num_rows} rows")
    for name in options.reproduce:
        if name != ALL and name not in retrieval.CONVENTIONS:
            near = difflib.get_close_matches(name, retrieval.CONVENTIONS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            known = ", ".join((*retrieval.CONVENTIONS, ALL))
            raise UserError(f"--reproduce={name}: unknown{hint}; there are {known}")
        if name != ALL and (why := _obstacle(name, num_rows)):
            raise UserError(f"--reproduce={name}: {why}")


def _obstacle(name: str, num_rows: int) -> str:
    """Why a convention cannot be applied to a database; "" if it can."""
    try:
        retrieval.convention_cut(retrieval.CONVENTIONS[name], num_rows)
    except ValueError as error:
        return str(error)
    return ""


def _rank_grid(num_rows: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... and the last rank."""
    steps = (digit * 10**power for power in range(len(str(num_rows))) for digit in (1, 2, 5))
    return (*(rank for rank in steps if rank < num_rows), num_rows)


class _Plan(NamedTuple):
    """What the passes compute; cuts by ties, those of the reported mean average precision first.

    Attributes:
      conventions: name -> convention.
      left_out: name -> why.
      cuts: "expected" and "stable" -> cuts.
      ranks: that are reported.
      grid: ranks of the precision-recall curve.
    """

    conventions: dict[str, retrieval.Convention]
    left_out: dict[str, str]
    cuts: dict[str, tuple[retrieval.Cut, ...]]
    ranks: tuple[int, ...]
    grid: tuple[int, ...]


def _plan(options: Options, num_rows: int) -> _Plan:
    check_options(options, num_rows)
    names = retrieval.CONVENTIONS if ALL in options.reproduce else options.reproduce
    left_out = {name: why for name in names if (why := _obstacle(name, num_rows))}
    conventions = {name: retrieval.CONVENTIONS[name] for name in names if name not in left_out}
    own = [retrieval.Cut(options.top_k, denominator) for denominator in retrieval.DENOMINATORS]
    others = lambda ties: [retrieval.convention_cut(c, num_rows) for c in conventions.values() if c.ties == ties]
    cuts = {ties: tuple(dict.fromkeys(own + others(ties))) for ties in ("expected", "stable")}
    default = tuple(rank for rank in retrieval.RANKS if rank <= num_rows)
    return _Plan(conventions, left_out, cuts, options.ranks or default, _rank_grid(num_rows))


def _by_denominator(
    metrics: retrieval.QueryMetrics, means: retrieval.QueryMetrics, stable: np.ndarray, seed: int
) -> dict[str, dict]:
    """Denominator -> mAP with its ties and its interval; one resampling of the queries serves all denominators.

    Args:
      metrics: of each query, under the denominators first and then other cuts.
      means: of the same over the queries that count.
      stable: means of the average precisions in database order, under the same cuts.
      seed: of the bootstrap.
    """
    counted = metrics.average_precision[metrics.relevant > 0, : len(retrieval.DENOMINATORS)]
    intervals = mean_intervals(counted, seed)
    return {
        denominator: {field: rounded(getattr(means, name)[place]) for field, name in _TIES.items()}
        | {"map_stable": rounded(stable[place]), "map_interval": intervals[place]}
        for place, denominator in enumerate(retrieval.DENOMINATORS)
    }


def _numbers_of_rows(given: retrieval.Arguments, counted: retrieval.Means) -> dict[str, int | str]:
    """How many queries and rows there are, and how many have no label."""
    return {
        "n_query": counted.num_queries,
        "n_query_without_relevant": counted.num_without_relevant,
        "n_query_unlabelled": count_unlabelled(given.query_labels),
        "n_database": len(given.database_codes),
        "n_database_unlabelled": count_unlabelled(given.database_labels),
        "labels": "multi_hot" if given.query_labels.ndim == 2 else "integer",
    }


def _curves(means: retrieval.QueryMetrics, plan: _Plan, graded: bool) -> dict:
    """Everything by rank and by radius; ranks come first in the metrics, the grid after them."""
    listed = lambda values: [rounded(value) for value in values]
    reported, grid = slice(len(plan.ranks)), slice(len(plan.ranks), None)
    by_rank = {"rank": list(plan.ranks)}
    by_rank |= {"precision": listed(means.precision[reported]), "recall": listed(means.recall[reported])}
    if graded:
        by_rank["ndcg"] = listed(means.ndcg[reported])
    radius = min(2, len(means.radius_precision) - 1)
    return {
        "precision_radius2": rounded(means.radius_precision[radius]),
        "empty_balls": rounded(means.radius_empty[radius]),
        "by_rank": by_rank,
        "precision_recall_by_rank": {
            "rank": list(plan.grid),
            "precision": listed(means.precision[grid]),
            "recall": listed(means.recall[grid]),
        },
        "precision_recall_by_radius": {
            "radius": list(range(len(means.radius_precision))),
            "precision": listed(means.radius_precision),
            "recall": listed(means.radius_recall),
            "empty_balls": listed(means.radius_empty),
        },
    }


def _reproduced(plan: _Plan, by_ties: dict[str, np.ndarray], num_rows: int) -> dict[str, dict]:
    """Name -> value and convention, from average precisions ``[Q, C]`` by ties."""
    rows = {}
    for name, convention in plan.conventions.items():
        place = plan.cuts[convention.ties].index(retrieval.convention_cut(convention, num_rows))
        value = retrieval.convention_mean(convention, by_ties[convention.ties][:, place])
        rows[name] = {"map": rounded(value)} | convention._asdict()
    return rows


def measure_codes(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    options: Options,
    *,
    query_logits: np.ndarray | None = None,
    devices: parallel.Devices | None = None,
    on_queries: OnQueries = lambda done, total: None,
) -> dict:
    """All numbers of an evaluation.

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      options: Options.
      query_logits: float ``[Q, K]``, for asymmetric ranking beside the Hamming ranking; None for none.
      devices: that share the queries; None for the default device.
      on_queries: called first, and after each chunk, with the queries done so far and their number, over all passes.

    Returns:
      Plain values, see `EVALUATION_DEFINITIONS`.

    Raises:
      UserError: options that do not fit the database, arrays that are neither codes nor labels or do not fit each
        other, or no query that shares a label with any row.
    """
    given = retrieval.accept(query_codes, database_codes, query_labels, database_labels)
    num_rows, num_queries = len(given.database_codes), len(given.query_codes)
    plan = _plan(options, num_rows)
    passes = 2 if query_logits is None else 3
    loop = lambda number: {
        "devices": devices,
        "on_queries": lambda done, _: on_queries(number * num_queries + done, passes * num_queries),
    }
    on_queries(0, passes * num_queries)
    ranks = plan.ranks + plan.grid
    metrics = retrieval.evaluate_queries(*given, cuts=plan.cuts["expected"], ranks=ranks, recall_levels=(), **loop(0))
    counted = retrieval.mean_over_counted(metrics)
    if counted.num_queries == 0:
        raise UserError("no query shares a label with any row of the database")
    stable = retrieval.stable_queries(*given, cuts=plan.cuts["stable"], **loop(1))
    stable_means = retrieval.mean_over_counted(stable).means.average_precision
    by_denominator = _by_denominator(metrics, counted.means, stable_means, options.seed)
    values = {
        "bits": given.query_codes.shape[1],
        **by_denominator["min"],
        "map_at": options.top_k,
        "by_denominator": by_denominator,
        "bootstrap": {"level": LEVEL, "resamples": RESAMPLES, "seed": options.seed},
        **_numbers_of_rows(given, counted),
        **_curves(counted.means, plan, graded=given.query_labels.ndim == 2),
    }
    if options.reproduce:
        by_ties = {"expected": metrics.average_precision, "stable": stable.average_precision}
        values |= {"reproduce": _reproduced(plan, by_ties, num_rows), "reproduce_left_out": plan.left_out}
    if query_logits is not None:
        cuts = tuple(retrieval.Cut(options.top_k, denominator) for denominator in retrieval.DENOMINATORS)
        ranked = retrieval.asymmetric_queries(query_logits, *given[1:], cuts=cuts, **loop(2))
        found = retrieval.mean_over_counted(ranked).means.average_precision
        values["asymmetric"] = dict(zip(retrieval.DENOMINATORS, map(rounded, found), strict=True))
    health = {"query": given[::2], "database": given[1::2]}
    return values | {"code_health": {name: summarise_health(*part) for name, part in health.items()}}
