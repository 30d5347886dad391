"""What a run says in the end: result rows with the definition of every number, and the selections."""

import numpy as np

from drlhash_jax import parallel, retrieval

# The meaning of each field of a result row, stored beside the rows.
DEFINITIONS = {
    "map": "mean over queries of average precision, exact expectation over random order of equal Hamming distances; "
    "divided by min(relevant rows, map_at)",
    "map_at": "ranks that count; null for all",
    "map_stable": "the same with equal distances in database order",
    "map_low": "the same with every tie broken against the query",
    "map_high": "the same with every tie broken for the query",
    "map_sd": "standard deviation (n - 1) over num_draws random selections; the row's other numbers are their means",
    "precision_radius2": "mean precision within Hamming distance 2, an empty ball counting 0",
    "empty_balls": "share of queries without any row within distance 2",
    "n_query": "queries that count; those without any relevant row are left out and counted in "
    "n_query_without_relevant",
    "selector": "how the bits were chosen from the pool; none: no choice, an encoder trained at this length",
    "seconds": "wall time of the row's own stage on the machine in run.json",
}
_AVERAGED = ("map", "map_stable", "map_low", "map_high", "precision_radius2", "empty_balls")


def rounded(value: float) -> float | None:
    """Six digits; NaN, where no query has anything to find, becomes null in the files."""
    return round(float(value), 6) if np.isfinite(value) else None


def measure(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    top_k: int | None,
    devices: parallel.Devices | None = None,
) -> dict[str, float | int | None]:
    """The numbers of a result row for one set of codes.

    Args:
      query_codes: {0, 1} array ``[Q, K]``.
      database_codes: {0, 1} array ``[N, K]``.
      query_labels: integer ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: integer ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.
      devices: that share the queries; None for the default device.

    Returns:
      Field name -> value, see `DEFINITIONS`.
    """
    arguments = query_codes, database_codes, query_labels, database_labels
    metrics = retrieval.evaluate(*arguments, top_k=top_k, devices=devices)
    return {
        "map": rounded(metrics.map),
        "map_at": top_k,
        "map_stable": rounded(retrieval.stable_map(*arguments, top_k=top_k, devices=devices)),
        "map_low": rounded(metrics.map_low),
        "map_high": rounded(metrics.map_high),
        "precision_radius2": rounded(metrics.precision_radius2),
        "empty_balls": rounded(metrics.empty_balls),
        "n_query": metrics.num_queries,
        "n_query_without_relevant": metrics.num_without_relevant,
        "n_database": len(database_codes),
    }


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


def selection_rows(pool_bits: int, selections: dict[int, dict[str, dict[str, np.ndarray]]]) -> list[dict]:
    """Rows of selection.json.

    Args:
      pool_bits: k.
      selections: length p -> selector -> arrays order ``[draws, p]``, reward ``[draws]``, evaluations, seconds.

    Returns:
      One row a length and selector.
    """
    rows = []
    for bits, by_selector in selections.items():
        for selector, found in by_selector.items():
            masks = [np.isin(np.arange(pool_bits), order).astype(int) for order in found["order"]]
            rows.append(
                {
                    "bits": bits,
                    "selector": selector,
                    "orders": found["order"].tolist(),
                    "masks": ["".join(map(str, mask)) for mask in masks],
                    "rewards": [rounded(reward) for reward in found["reward"]],
                    "map_evaluations": int(found["evaluations"]),
                    "seconds": round(float(found["seconds"]), 3),
                }
            )
    return rows
