"""The numbers of a comparison: means over seeds, and differences from a reference on the same queries."""

from pathlib import Path
from typing import Any

import numpy as np

from drlhash_jax.comparison.rankings import RANKINGS
from drlhash_jax.comparison.rivals import RIVALS
from drlhash_jax.comparison.settings import Comparison
from drlhash_jax.evaluation.numbers import mean_intervals, rounded

# In place of a method's name.
RIVALS_NAME = "rivals"
DEFINITIONS = {
    "map": "mean average precision over all ranks (or compare.base.top_k), expected over ties, by ranking; mean over "
    "seeds",
    "map_sd": "standard deviation (n - 1) over seeds; null for one seed",
    "difference": "mean average precision by Hamming distance less the reference's, on the same queries of the same "
    "splits",
    "difference_interval": "95 % bootstrap interval of the difference over the queries of all seeds together; the "
    "trainings stay as they are",
    "precision_radius2": "precision within Hamming radius 2, an empty ball counting 0; mean over seeds",
    "bytes": "bytes stored for a row of the database",
    "query": "what a query needs at search time",
    "seconds": "wall time of training and encoding one run, compilation included; mean over runs",
    "peak_mib": "largest resident memory of the process that searched and ran the method",
} | {f"map.{name}": text for name, text in RANKINGS.items()}


def mean_sd(values: list[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1) over seeds, None for one seed, as files have them."""
    return rounded(np.mean(values)), rounded(np.std(values, ddof=1)) if len(values) > 1 else None


def run_folder(workdir: Path, table: str, method: str, bits: int, seed: int) -> Path:
    """Directory of a run of a comparison."""
    return workdir / table / method / f"{bits:03d}" / f"seed{seed}"


def read_precisions(folder: Path, ranking: str = "hamming") -> np.ndarray:
    """Average precisions of a run's queries, as `rank_run` gave them."""
    with np.load(folder / "rankings.npz") as arrays:
        return arrays[ranking]


def difference(workdir: Path, table: str, names: tuple[str, str], bits: int, seeds: list[int]) -> dict[str, Any]:
    """Difference of the first method from the second, paired by query.

    Returns:
      "difference" and "difference_interval"; empty where a run is missing or counts other queries.
    """
    pairs = []
    for seed in seeds:
        folders = [run_folder(workdir, table, name, bits, seed) for name in names]
        if not all((folder / "rankings.npz").is_file() for folder in folders):
            return {}
        first, second = map(read_precisions, folders)
        if first.shape != second.shape:
            return {}
        pairs.append(first - second)
    values = np.concatenate(pairs)
    interval = mean_intervals(values[:, None])
    return {"difference": rounded(values.mean()), "difference_interval": interval and interval[0]}


def _rows_of(comparison: Comparison, workdir: Path, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table that one method gives, a row for each table and length."""
    method, reference, rows = found["name"], comparison.settings.reference, []
    for table, _, lengths in comparison.tables:
        for bits in lengths:
            runs = [row for row in found["rows"] if (row["table"], row["bits"]) == (table, bits)]
            seeds = [row["seed"] for row in runs]
            maps = {name: mean_sd([row["map"][name] for row in runs]) for name in RANKINGS}
            row = {
                "table": table,
                "protocol": runs[0]["protocol"],
                "name": method,
                "bits": bits,
                "bytes": -(-bits // 8),
            }
            row |= {"kind": "method", "query": "binary", "num_seeds": len(seeds)}
            row |= {"map": {name: mean for name, (mean, _) in maps.items()}}
            row |= {"map_sd": {name: sd for name, (_, sd) in maps.items()}}
            if method != reference:
                row |= difference(workdir, table, (method, reference), bits, seeds)
            row["precision_radius2"], _ = mean_sd([each["precision_radius2"] for each in runs])
            row["seconds"] = round(float(np.mean([each["seconds"] for each in runs])), 1)
            rows.append(row | {"peak_mib": found["peak_mib"]})
    return rows


def _rows_of_rivals(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table that the rivals give, a row for each table, rival and size."""
    rows = []
    for table, name, size in dict.fromkeys((row["table"], row["rival"], row["size"]) for row in found):
        runs = [row for row in found if (row["table"], row["rival"], row["size"]) == (table, name, size)]
        mean, sd = mean_sd([each["map"] for each in runs])
        rival = RIVALS[name]
        row = {"table": table, "protocol": runs[0]["protocol"], "kind": "rival", "name": name, "bits": None}
        row |= {"bytes": runs[0]["bytes"], "query": rival.query, "learns_labels": rival.learns_labels}
        row |= {"num_seeds": len(runs), "map": {"real": mean}, "map_sd": {"real": sd}}
        rows.append(row | {"seconds": round(float(np.mean([each["seconds"] for each in runs])), 1)})
    return rows


def summarise(comparison: Comparison, workdir: Path, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of comparison.json.

    Args:
      comparison: Comparison.
      workdir: its directory.
      found: what is known of each method and of the rivals, see `work.work`; those that failed have "failed".

    Returns:
      "definitions", "reference", "rows", "settings" (method -> what was searched and chosen), and "failed".
    """
    finished = [each for each in found if "rows" in each and each["name"] != RIVALS_NAME]
    rivals = [row for each in found if each["name"] == RIVALS_NAME for row in each.get("rows", ())]
    failed = {each["name"]: each["failed"] for each in found if "failed" in each}
    failed |= {f"{row['rival']}, {row['table']} classes": row["failed"] for row in rivals if "failed" in row}
    rivals = [row for row in rivals if "failed" not in row]
    return {
        "definitions": DEFINITIONS,
        "reference": comparison.settings.reference,
        "seeds": list(comparison.settings.seeds),
        "rows": [row for each in finished for row in _rows_of(comparison, workdir, each)] + _rows_of_rivals(rivals),
        "settings": {each["name"]: {"chosen": each["settings"], "tried": each["search"]} for each in finished},
        "failed": failed,
    }
