"""What a run says in the end: result rows, with the definition of every number, and the selections."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from drlhash_jax import parallel, retrieval
from drlhash_jax.evaluation.definitions import ROW_DEFINITIONS
from drlhash_jax.evaluation.numbers import mean_intervals, rounded

ROLES = ("pool", "selected", "direct")
_AVERAGED = ("map", "map_stable", "map_pessimistic", "map_optimistic", "precision_radius2", "empty_balls")

Pair = tuple[np.ndarray, np.ndarray]


class RunFacts(NamedTuple):
    """What is the same in all rows of a run.

    Attributes:
      method: name in METHODS.
      dataset: name of the data.
      protocol: name of the split's rules.
      seed: of the run.
      encoder: name of the network.
    """

    method: str
    dataset: str
    protocol: str
    seed: int
    encoder: str


class Task(NamedTuple):
    """What the codes of a run are measured on.

    Attributes:
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.
      devices: that share the queries; None for the default device.
    """

    query_labels: np.ndarray
    database_labels: np.ndarray
    top_k: int | None = None
    devices: parallel.Devices | None = None


def measure(task: Task, query_codes: np.ndarray, database_codes: np.ndarray) -> dict[str, float | int | None]:
    """The numbers of a result row for one set of codes, without the interval.

    Args:
      task: Task.
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.

    Returns:
      Field name -> value, see `ROW_DEFINITIONS`.

    Raises:
      UserError: arrays that are not codes or not labels, or do not fit each other.
    """
    arguments = query_codes, database_codes, task.query_labels, task.database_labels
    options = {"top_k": task.top_k, "devices": task.devices}
    metrics = retrieval.evaluate(*arguments, **options)
    return {
        "map": rounded(metrics.map),
        "map_at": task.top_k,
        "map_stable": rounded(retrieval.stable_map(*arguments, **options)),
        "map_pessimistic": rounded(metrics.map_pessimistic),
        "map_optimistic": rounded(metrics.map_optimistic),
        "precision_radius2": rounded(metrics.precision_radius2),
        "empty_balls": rounded(metrics.empty_balls),
        "n_query": metrics.num_queries,
        "n_query_without_relevant": metrics.num_without_relevant,
        "n_database": len(database_codes),
    }


def measure_interval(task: Task, query_codes: np.ndarray, database_codes: np.ndarray) -> list[float] | None:
    """The 95 % interval of map over queries, [low, high]; None where no query counts. Arguments as in `measure`."""
    arguments = query_codes, database_codes, task.query_labels, task.database_labels
    values = retrieval.query_precisions(*arguments, top_k=task.top_k, devices=task.devices)
    intervals = mean_intervals(values[:, None])
    return intervals and intervals[0]


def average(measured: list[dict]) -> dict:
    """One set of numbers for several draws: their means, with `map_sd` and `num_draws`; a single draw as it is."""
    summary = dict(measured[0])
    if len(measured) == 1:
        return summary
    for name in _AVERAGED:
        values = [each[name] for each in measured]
        summary[name] = None if None in values else rounded(np.mean(values))
    values = [each["map"] for each in measured]
    summary["map_sd"] = None if None in values else rounded(np.std(values, ddof=1))
    summary["num_draws"] = len(measured)
    return summary


def result_row(
    facts: RunFacts,
    task: Task,
    role: str,
    draws: Sequence[Pair],
    *,
    selector: str = "none",
    pool_bits: int | None = None,
    seconds: float,
) -> dict:
    """A row of metrics.json.

    Args:
      facts: RunFacts.
      task: Task.
      role: "pool" for all bits of the pool, "selected" for a selector's choice, "direct" for an encoder trained at this
        length.
      draws: codes of the queries and of the database; several for a selector that draws at random.
      selector: that chose the bits; "none" where nothing was chosen.
      pool_bits: length of the codes that it chose from; None where nothing was chosen.
      seconds: wall time of the row's own stage.

    Returns:
      Field name -> value, see `ROW_DEFINITIONS`.

    Raises:
      ValueError: a role that is unknown or does not go with the selector.
      UserError: as in `measure`.
    """
    if role not in ROLES:
        raise ValueError(f"role={role!r}: choose one of {', '.join(ROLES)}")
    if (role == "selected") != (selector != "none"):
        raise ValueError(f"role={role!r}, selector={selector!r}: selected bits, and no others, have a selector")
    bits = draws[0][0].shape[1]
    row = {"method": facts.method, "role": role, "selector": selector, "bits": bits, "pool_bits": pool_bits or bits}
    row |= {"dataset": facts.dataset, "protocol": facts.protocol, "seed": facts.seed, "encoder": facts.encoder}
    row |= average([measure(task, *codes) for codes in draws])
    if len(draws) == 1:
        row["map_interval"] = measure_interval(task, *draws[0])
    return row | {"seconds": round(seconds, 3)}


def metrics_content(rows: list[dict]) -> dict:
    """The content of metrics.json: the rows, and what their fields mean."""
    return {"definitions": ROW_DEFINITIONS, "results": rows}


def selection_rows(pool_bits: int, selections: dict[int, dict[str, dict[str, np.ndarray]]]) -> list[dict]:
    """Rows of selection.json.

    Args:
      pool_bits: k.
      selections: length p -> selector -> order int ``[draws, p]``, reward float ``[draws]``, evaluations (number of
        rewards computed), found_by (words), seconds, and noise of the first draw: error, lead over greedy, and the
        interval's low and high end.

    Returns:
      One row for each length and selector.
    """
    rows = []
    for bits, by_selector in selections.items():
        for selector, found in by_selector.items():
            error, *over = (None if value is None else rounded(value) for value in found["noise"])
            masks = [np.isin(np.arange(pool_bits), order).astype(int) for order in found["order"]]
            rows.append(
                {
                    "bits": bits,
                    "selector": selector,
                    "orders": found["order"].tolist(),
                    "masks": ["".join(map(str, mask)) for mask in masks],
                    "rewards": [rounded(reward) for reward in found["reward"]],
                    "reward_error": error,
                    "over_greedy": dict(zip(("mean", "low", "high"), over)) if selector != "greedy" else None,
                    "map_evaluations": int(found["evaluations"]),
                    "found_by": str(found["found_by"]) or None,
                    "seconds": round(float(found["seconds"]), 3),
                }
            )
    return rows
