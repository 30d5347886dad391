"""The rivals of a comparison, on the same splits and seeds: their mAP by real-valued scores."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drlhash_jax import data, retrieval
from drlhash_jax.comparison.rankings import counted
from drlhash_jax.comparison.rivals import RIVALS, RivalRows
from drlhash_jax.comparison.search import run_config
from drlhash_jax.comparison.settings import Comparison, Table
from drlhash_jax.encoders import prepare_inputs
from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.files import write_json
from drlhash_jax.pipeline import load_run
from drlhash_jax.pipeline.load import Loaded

# Numbers of a row that rivals still take; they know vectors and no pictures.
_MOST_NUMBERS = 4096


def rows_of(loaded: Loaded) -> RivalRows:
    """The parts of a split as normalised vectors; images are flattened.

    Raises:
      UserError: rows of too many numbers.
    """
    dataset, split, spec = loaded.dataset, loaded.split, loaded.rows.spec
    numbers = int(np.prod(loaded.rows.inputs.shape[1:]))
    if numbers > _MOST_NUMBERS:
        raise UserError(f"rivals rank vectors of at most {_MOST_NUMBERS} numbers, these rows have {numbers}")

    def part(rows: np.ndarray) -> np.ndarray:
        found = np.asarray(prepare_inputs(np.asarray(data.select_rows(dataset.inputs, rows)[:]), spec))
        return found.reshape(len(found), -1)

    return RivalRows(part(split.train), dataset.labels[split.train], part(split.query), part(split.database))


def _measure(loaded: Loaded, rows: RivalRows, name: str, size: int | None, seed: int) -> dict[str, Any]:
    """One rival at one size: mAP, bytes a row and seconds."""
    begun = time.monotonic()
    ranking = RIVALS[name].fit(rows, size or 0, seed)
    labels = loaded.dataset.labels
    labels = data.query_labels(labels, loaded.split), labels[loaded.split.database]
    found = retrieval.score_queries(ranking.score_rows, *labels, top_k=loaded.config.run.top_k)
    value = {
        "rival": name,
        "size": size,
        "bytes": ranking.bytes_per_row,
        "protocol": loaded.split.protocol,
        "seed": seed,
    }
    return value | {"map": round(float(counted(found).mean()), 6), "seconds": round(time.monotonic() - begun, 1)}


def compare_rivals(
    comparison: Comparison, tables: list[Table], workdir: Path, stop_requested: Callable[[], str | None]
) -> dict[str, Any]:
    """Measures every rival on every table, seed and size.

    Args:
      comparison: Comparison.
      tables: of the comparison.
      workdir: its directory; what is finished of a split is kept in rivals/.
      stop_requested: asked between rivals for the name of a signal to stop.

    Returns:
      "rows": rival, table, protocol, seed, size, bytes, mAP and seconds; or rival, table, and why it "failed".

    Raises:
      UserError: the rows cannot be ranked as vectors.
      RunStoppedError: a stop was requested; splits that are done are kept.
    """
    rows = []
    for table in tables:
        for seed in comparison.settings.seeds:
            path = workdir / "rivals" / table.name / f"seed{seed}.json"
            if not path.is_file():
                # LSH loads the rows of any kind.
                loaded = load_run(
                    run_config(comparison, "lsh", {}, bits=comparison.settings.bits[0], seed=seed, **table.data)
                )
                vectors, found = rows_of(loaded), []
                for name, rival in RIVALS.items():
                    for size in rival.sizes or (None,):
                        if signal := stop_requested():
                            raise RunStoppedError(f"stopped by {signal}")
                        print(f"{table.name}, seed {seed}: {name} {size or ''}", flush=True)
                        try:
                            value = _measure(loaded, vectors, name, size, seed)
                        except UserError as error:
                            value = {"rival": name, "failed": str(error)}
                        found.append({"table": table.name} | value)
                write_json(path, found)
            rows += json.loads(path.read_text())
    return {"rows": rows}
