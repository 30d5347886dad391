"""What a person wants to know of a bundle first."""

from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles.bundle import Bundle
from drlhash_jax.bundles.hamming import code_keys

# Graph indexes found .41 to .54 of the neighbours where .38 of the codes were distinct; beyond that it is a choice.
_FEW_DISTINCT = 0.5


class CodeCounts(NamedTuple):
    """How rows share codes.

    Attributes:
      distinct: number of different codes.
      largest: rows of the most frequent one.
    """

    distinct: int
    largest: int


def count_codes(packed: np.ndarray) -> CodeCounts:
    """Counts equal codes among packed ones, uint8 ``[N, B]``."""
    if not len(packed):
        return CodeCounts(0, 0)
    counts = np.unique(code_keys(packed), return_counts=True)[1]
    return CodeCounts(len(counts), int(counts.max()))


def repeats_notice(counts: CodeCounts, num_rows: int) -> str | None:
    """What somebody should know before indexing codes that repeat, in one line; None where they do not."""
    if not num_rows or counts.distinct >= _FEW_DISTINCT * num_rows:
        return None
    share = f"{100 * counts.distinct / num_rows:.1f} % of {num_rows} rows"
    return f"distinct codes are few ({counts.distinct}, {share}): a graph index (HNSW) loses neighbours; search exactly"


def _model_line(model: dict | None) -> str:
    if model is None:
        return "not known"
    chosen = f", {model.get('bits')} bits by {model.get('selector')}"[:60] if model.get("selector") else ""
    return f"sha256 {model['sha256']}{chosen}"


def bundle_facts(bundle: Bundle) -> dict[str, str]:
    """Facts of a bundle, name -> value, in the order in which they are shown."""
    manifest = bundle.manifest
    sizes = [file.size for part in manifest.parts for file in part.files.values()]
    counts, num_rows = count_codes(bundle.codes), len(bundle.codes)
    facts = {
        "rows": f"{num_rows}" + (f" ({manifest.removed.rows} removed)" if manifest.removed else ""),
        "bits": f"{manifest.num_bits}, first bit highest",
        "segments": f"{len(manifest.segments)}, {sum(sizes) / 2**20:.1f} MiB",
        "model": _model_line(manifest.model),
        "coded as": manifest.role or "queries and database alike",
    }
    if manifest.has_logits:
        facts["logits"] = "float16, of every row"
    if num_rows:
        facts["distinct codes"] = f"{counts.distinct}; {counts.largest} rows share the most frequent one"
        facts["first id"], facts["last id"] = bundle.id_of(0), bundle.id_of(num_rows - 1)
    skipped = [part.folder for part in manifest.segments if "skipped.jsonl" in part.files]
    if skipped:
        facts["left out"] = f"files listed in skipped.jsonl of {', '.join(skipped[:3])}"
    return facts
