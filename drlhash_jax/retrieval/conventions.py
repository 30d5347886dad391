"""What well-known hashing repositories would print as mAP for given codes.

Their definitions differ in the ranks that count, the denominator, and what becomes of queries without a hit. A number
from here carries the name of its convention and is compared with numbers of that repository alone. All of them sort
with an unstable argsort or top-k, so the order of their ties is the accident of a library's version; the stable order
stands in for it, and the spread between optimistic and pessimistic ties says what that may be worth.

Codes are {0, 1} here and signs there. Where a repository evaluates real-valued outputs, its entry says so: then the
codes' own value is another number.
"""

from typing import NamedTuple

import numpy as np

from drlhash_jax import parallel
from drlhash_jax.codes import check_rank
from drlhash_jax.retrieval.average_precision import Cut
from drlhash_jax.retrieval.streaming import CHUNK_SIZE, OnQueries, evaluate_queries, stable_queries

HITLESS = ("zero", "skip")


class Convention(NamedTuple):
    """A definition of mean average precision.

    Attributes:
      top_k: ranks that count; None for all.
      ties: "stable" or "expected".
      denominator: "min", "all" or "retrieved", see `average_precision`.
      hitless: what a query without a hit in the top ranks is: "zero" counts as 0, also where the database holds nothing
        relevant to it; "skip" leaves it out of the mean.
      drops_last: whether the last row of the ranking is cut off, since -1 for "all" became the slice [0:-1].
      source: repository and function, and what it does.
    """

    top_k: int | None
    ties: str
    denominator: str
    hitless: str
    drops_last: bool
    source: str


_DEEPHASH = (
    "swuxyj/DeepHash-pytorch, utils/tools.py CalcTopMap: np.argsort, mean of i / rank_i over the hits in the top K, "
    "hitless queries add 0"
)
_HASHNET = (
    "thuml/HashNet, pytorch/src/test.py mean_average_precision: np.argsort of inner products, divided by the hits in "
    "the top R, hitless queries left out; it ranks the network's tanh outputs, not their signs"
)
_THULAB = (
    "thulab/DeepHash, evaluation get_mAPs_after_sign: np.argpartition, then np.argsort, divided by the hits in the top "
    "R, hitless queries left out; its other mAPs, by feature and re-ranked, are not functions of the codes"
)
_TREEZZZ = (
    "TreezzZ/HashNet_PyTorch and its siblings, utils/evaluate.py mean_average_precision: torch.argsort, divided by the "
    "hits in the top k, hitless queries add 0"
)
_ORTHOHASH = (
    "kamwoh/orthohash, functions/hashing.py calculate_mAP: torch.topk, divided by the hits in the top R, hitless "
    "queries add 0"
)
_FIRE = (
    "CISiPLab/cisip-FIRe, functions/metrics.py compute_mAP_score_multi_R: torch.topk, divided by the hits in the top "
    "R, hitless queries add 0 (left out with old_eval)"
)
_ADSH_ALL = (
    "jiangqy/ADSH-AAAI2018, utils/calc_hr.py calc_map: np.argsort, all ranks, divided by all relevant rows, queries "
    "without any add 0"
)
_ADSH_TOP = (
    "jiangqy/ADSH-AAAI2018, utils/calc_hr.py calc_topMap: np.argsort, divided by the hits in the top k, hitless "
    "queries add 0"
)
_DPSH_ALL = (
    "jiangqy/DPSH-pytorch, utils/CalcHammingRanking.py CalcMap: np.argsort, all ranks, divided by all relevant rows, "
    "queries without any add 0"
)
_HBS_RL = (
    "xyez/HBS-RL, utils/get_results.py compute_mAP: torch.argsort, all ranks, divided by the relevant rows, queries "
    "without any add 0"
)
_TALR = (
    "kunhe/TALR, +eval/tieAP.m: exact expectation over ties, all ranks, divided by all relevant rows, queries without "
    "any add 0"
)


def _retrieved(top_k: int | None, hitless: str, source: str, drops_last: bool = False) -> Convention:
    return Convention(top_k, "stable", "retrieved", hitless, drops_last, source)


# A number after the name is its R: 5000 on NUS-WIDE and COCO, 1000 on ImageNet-100. Others follow by `_replace`.
CONVENTIONS = {
    "deephash_pytorch": _retrieved(None, "zero", f"{_DEEPHASH}; topK=-1 drops the last row", drops_last=True),
    "deephash_pytorch_1000": _retrieved(1000, "zero", _DEEPHASH),
    "deephash_pytorch_5000": _retrieved(5000, "zero", _DEEPHASH),
    "hashnet_1000": _retrieved(1000, "skip", _HASHNET),
    "hashnet_5000": _retrieved(5000, "skip", _HASHNET),
    "thulab_deephash": _retrieved(None, "skip", f"{_THULAB}; R is the size of the database on CIFAR-10"),
    "thulab_deephash_5000": _retrieved(5000, "skip", _THULAB),
    "treezzz": _retrieved(None, "zero", f"{_TREEZZZ}; topk=-1 drops the last row", drops_last=True),
    "treezzz_5000": _retrieved(5000, "zero", _TREEZZZ),
    "orthohash": _retrieved(None, "zero", f"{_ORTHOHASH}; R is the size of the database on CIFAR-10"),
    "orthohash_1000": _retrieved(1000, "zero", _ORTHOHASH),
    "orthohash_5000": _retrieved(5000, "zero", _ORTHOHASH),
    "fire": _retrieved(None, "zero", f"{_FIRE}; -1 takes all rows"),
    "fire_1000": _retrieved(1000, "zero", _FIRE),
    "fire_5000": _retrieved(5000, "zero", _FIRE),
    "adsh": Convention(None, "stable", "all", "zero", False, _ADSH_ALL),
    "adsh_5000": _retrieved(5000, "zero", _ADSH_TOP),
    "dpsh": Convention(None, "stable", "all", "zero", False, _DPSH_ALL),
    "hbs_rl": Convention(None, "stable", "all", "zero", False, _HBS_RL),
    "talr": Convention(None, "expected", "all", "zero", False, _TALR),
}


def find_convention(reproduce: str | Convention) -> Convention:
    """The convention of a name, or the convention itself, its fields checked.

    Raises:
      ValueError: unknown name, ties or treatment of hitless queries.
    """
    if isinstance(reproduce, str):
        if reproduce not in CONVENTIONS:
            raise ValueError(f"reproduce={reproduce!r}: choose one of {', '.join(CONVENTIONS)}")
        return CONVENTIONS[reproduce]
    if reproduce.ties not in ("stable", "expected"):
        raise ValueError(f"ties={reproduce.ties!r}: a convention has stable or expected")
    if reproduce.hitless not in HITLESS:
        raise ValueError(f"hitless={reproduce.hitless!r}: choose one of {', '.join(HITLESS)}")
    return reproduce


def convention_cut(convention: Convention, num_rows: int) -> Cut:
    """The cut of a convention on a database of `num_rows` rows.

    Raises:
      ValueError: its R exceeds the database, or it drops the only row.
    """
    top_k = convention.top_k
    if convention.drops_last and top_k is None:
        if num_rows < 2:
            raise ValueError("a convention that drops the last row needs a database of at least 2 rows")
        top_k = num_rows - 1
    if top_k is not None:
        check_rank("top_k", top_k, num_rows)
    return Cut(top_k, convention.denominator)


def convention_mean(convention: Convention, values: np.ndarray) -> float:
    """Mean over queries as the convention takes it, for average precisions float32 ``[Q]`` under its cut and its ties.

    NaN when no query counts.
    """
    # A value is 0 exactly where the top ranks hold no hit.
    if convention.hitless == "skip":
        values = values[values > 0]
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")


def reproduce_map(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    *,
    reproduce: str | Convention,
    chunk_size: int = CHUNK_SIZE,
    devices: parallel.Devices | None = None,
    on_queries: OnQueries | None = None,
) -> float:
    """Mean average precision under another repository's convention.

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]``.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]``.
      query_labels: class numbers ``[Q]`` or multi-hot ``[Q, C]``.
      database_labels: class numbers ``[N]`` or multi-hot ``[N, C]``.
      reproduce: name in `CONVENTIONS`, or a Convention of one's own.
      chunk_size: queries evaluated between two calls of `on_queries`.
      devices: that share the queries; None for the default device.
      on_queries: called with the queries done so far and Q after each chunk.

    Returns:
      The value; NaN when no query counts.

    Raises:
      ValueError: unknown convention, one whose R exceeds the database, or arrays that `accept` refuses.
    """
    convention = find_convention(reproduce)
    options = convention_cut(convention, len(database_codes))._asdict()
    options |= {"chunk_size": chunk_size, "devices": devices, "on_queries": on_queries}
    arguments = query_codes, database_codes, query_labels, database_labels
    if convention.ties == "stable":
        values = stable_queries(*arguments, **options).average_precision
    else:
        values = evaluate_queries(*arguments, ranks=(), recall_levels=(), **options).average_precision
    return convention_mean(convention, values)
