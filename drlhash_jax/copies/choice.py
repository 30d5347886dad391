"""The radius within which two images of a collection are taken for copies.

A collection of N images has N (N - 1) / 2 pairs, so that a rate of false pairs that no sample shows still gives many.
The rate is the tail of a beta-binomial distribution that has the mean and the variance of the distances of different
images of a sample, or what the sample shows itself, if that is more. Of the 61,075 pairs of 350 photographs 1, 5, 60
and 304 are within 14, 16, 18 and 20 bits by pHash, where the tail says .5, 5, 37 and 197; by dHash 1, 4, 26 and 105
within 12, 14, 16 and 18, where it says .3, 3, 19 and 95.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats

# A pair of the sample is a copy, if less than so many as near were expected among all its pairs.
_COPIES = 0.01


class Choice(NamedTuple):
    """What one hash is worth in a collection.

    Attributes:
      radius: -1 where no radius keeps the precision.
      found: pairs of the collection within it.
      false: pairs of different images that are expected within it.
      recall: share of attacked copies that are within it.
    """

    radius: int
    found: int
    false: float
    recall: float


def tail(different: np.ndarray) -> np.ndarray:
    """The share of pairs within each distance, by a beta-binomial distribution: float ``[K + 1]``.

    Args:
      different: int ``[K + 1]``, pairs of different images by distance.
    """
    distances = np.arange(len(different))
    num_bits, num_pairs = len(different) - 1, different.sum()
    mean = distances @ different / num_pairs
    if not 0 < mean < num_bits:
        return np.ones(len(different))
    variance = (distances - mean) ** 2 @ different / num_pairs
    share = mean / num_bits
    # Correlation of bits; at 0 the distribution is the binomial one, and at 1 all bits are equal.
    correlation = (variance / (num_bits * share * (1 - share)) - 1) / max(num_bits - 1, 1)
    if correlation <= 1e-9:
        return scipy.stats.binom.cdf(distances, num_bits, share)
    strength = max(1 / correlation - 1, 1e-9)
    return scipy.stats.betabinom.cdf(distances, num_bits, strength * share, strength * (1 - share))


def are_copies(distances: np.ndarray, num_bits: int) -> np.ndarray:
    """Which pairs of a sample are too near for different images: bool ``[n]``, by their distances int ``[n]``."""
    copies = np.zeros(len(distances), bool)
    while True:
        expected = len(distances) * tail(np.bincount(distances[~copies], minlength=num_bits + 1))
        further = expected[distances] < _COPIES
        if np.array_equal(further, copies):
            return copies
        copies |= further


def false_pairs(different: np.ndarray, num_rows: int) -> np.ndarray:
    """Pairs of different images that are expected within each distance in a collection: float ``[K + 1]``.

    Args:
      different: int ``[K + 1]``, pairs of different images of the sample by distance.
      num_rows: N of the collection.
    """
    seen = np.cumsum(different) / different.sum()
    return num_rows * (num_rows - 1) / 2 * np.maximum(seen, tail(different))


def choose_radius(same: np.ndarray, false: np.ndarray, found: np.ndarray, precision: float) -> Choice:
    """The largest radius at which a share of the pairs that are found is expected to be copies.

    Args:
      same: int ``[K + 1]``, attacked copies by distance.
      false: float ``[K + 1]``, see `false_pairs`.
      found: int ``[r]``, pairs of the collection by distance, as far as they were counted.
      precision: that share, from 0 to 1. Where nothing is found, less than 1 - precision false pairs are expected.
    """
    within = np.cumsum(found)
    keeps = np.flatnonzero(false[: len(found)] <= (1 - precision) * np.maximum(within, 1))
    if not len(keeps):
        return Choice(-1, 0, 0.0, 0.0)
    radius = int(keeps[-1])
    return Choice(radius, int(within[radius]), float(false[radius]), float(same[: radius + 1].sum() / same.sum()))


def shown(choice: Choice) -> str:
    """A Choice in words."""
    if choice.radius < 0:
        return "no radius keeps the precision"
    return (
        f"{choice.found} pairs within {choice.radius} bits, of which {choice.false:.2g} are expected to be different "
        f"images; {choice.recall:.1%} of attacked copies are within"
    )
