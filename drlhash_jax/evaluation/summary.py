"""Diagnostics of a set of codes as plain numbers."""

import numpy as np

from drlhash_jax.codes import bit_balance, bit_correlation, bit_entropy, collisions, occupancy
from drlhash_jax.evaluation.numbers import rounded


def _listed(values: np.ndarray) -> list[float | None]:
    return [rounded(value) for value in values]


def _correlation(codes: np.ndarray) -> dict:
    """Summary of the phi coefficients; pairs with a constant bit have none."""
    phi = np.abs(bit_correlation(codes))
    first, second = np.triu_indices(len(phi), k=1)
    pairs = phi[first, second]
    known = np.isfinite(pairs)
    if not known.any():
        return {"mean_absolute": None, "max_absolute": None, "max_pair": None, "identical_pairs": 0}
    place = int(np.nanargmax(pairs))
    return {
        "mean_absolute": rounded(np.mean(pairs[known])),
        "max_absolute": rounded(pairs[place]),
        "max_pair": [int(first[place]), int(second[place])],
        "identical_pairs": int(np.sum(pairs[known] == 1)),
    }


def _octaves(sizes: np.ndarray, buckets: np.ndarray) -> dict[str, int]:
    """Buckets of 1 row, 2 to 3, 4 to 7, and so on, those that occur."""
    octave = np.floor(np.log2(sizes)).astype(int)
    counts = np.bincount(octave, weights=buckets).astype(int)
    name = lambda low: "1" if low == 1 else f"{low}-{2 * low - 1}"
    return {name(2**each): int(count) for each, count in enumerate(counts) if count}


def summarise_health(codes: np.ndarray, labels: np.ndarray) -> dict:
    """Balance, entropy, correlation, occupancy and collisions of one set of codes.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]``.
      labels: class numbers ``[N]`` or multi-hot ``[N, C]``.

    Returns:
      Plain values, see `EVALUATION_DEFINITIONS` under code_health.
    """
    balance, entropy = bit_balance(codes), bit_entropy(codes)
    filled = occupancy(codes)
    equal = collisions(codes, labels)
    spread = lambda values: {"mean": rounded(values.mean()), "min": rounded(values.min()), "max": rounded(values.max())}
    return {
        "rows": filled.num_rows,
        "distinct_codes": filled.num_codes,
        "mean_bucket": rounded(filled.mean),
        "largest_bucket": filled.largest,
        "rows_alone": filled.alone,
        "code_entropy": rounded(filled.entropy),
        "buckets": _octaves(filled.sizes, filled.buckets),
        "collisions": equal._asdict() | {"sharing_rate": rounded(equal.sharing_rate)},
        "balance": spread(balance) | {"each": _listed(balance)},
        "bit_entropy": spread(entropy) | {"each": _listed(entropy)},
        "constant_bits": np.flatnonzero(entropy == 0).tolist(),
        "correlation": _correlation(codes),
    }
