"""Detecting copies by a threshold: exact rates from two integer histograms of Hamming distances.

Two images count as copies of one another iff their distance is at most xi (thesis 2.2.2). With S_d copies and D_d
pairs of different images at distance d,

    detection rate       P(xi) = (S_0 + ... + S_xi) / sum S
    false positive rate  F(xi) = (D_0 + ... + D_xi) / sum D

Thresholds run from -1, where nothing is a copy, to K, where everything is. Counts stay integers and comparisons of
rates are made between fractions, so that no rate is missed by a rounding error.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np


class RocCurve(NamedTuple):
    """What each threshold accepts.

    Attributes:
      threshold: int64 ``[K + 2]``, -1 .. K.
      detected: int64 ``[K + 2]``, copies within the threshold.
      false_positives: int64 ``[K + 2]``, pairs of different images within it.
      detection_rate: float64 ``[K + 2]``.
      false_positive_rate: float64 ``[K + 2]``.
    """

    threshold: np.ndarray
    detected: np.ndarray
    false_positives: np.ndarray
    detection_rate: np.ndarray
    false_positive_rate: np.ndarray


def _accepted(counts: np.ndarray) -> np.ndarray:
    """Running sums of a histogram, beginning with the 0 of threshold -1: int64 ``[K + 2]``."""
    counts = np.asarray(counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer) or len(counts) == 0 or np.any(counts < 0):
        raise ValueError(f"a histogram must be integers [K + 1], not {counts.dtype} {list(counts.shape)}")
    if not np.any(counts):
        raise ValueError("a histogram must count something")
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _accepted_pair(same: np.ndarray, different: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(same) != len(different):
        raise ValueError(f"histograms of {len(same)} and {len(different)} distances do not fit")
    return _accepted(same), _accepted(different)


def roc_curve(same: np.ndarray, different: np.ndarray) -> RocCurve:
    """Rates at every threshold.

    Args:
      same: int ``[K + 1]``, copies by distance.
      different: int ``[K + 1]``, pairs of different images by distance.

    Returns:
      RocCurve.

    Raises:
      ValueError: not two histograms of one length, or an empty one.
    """
    detected, false_positives = _accepted_pair(same, different)
    threshold = np.arange(-1, len(same))
    return RocCurve(
        threshold, detected, false_positives, detected / detected[-1], false_positives / false_positives[-1]
    )


def threshold_at(different: np.ndarray, false_positive_rate: float) -> int:
    """The largest threshold xi whose false positive rate is at most the one given; -1 if even 0 has a larger one.

    Args:
      different: int ``[K + 1]``, pairs of different images by distance.
      false_positive_rate: from 0 to 1, read as the decimal fraction that it is written as.

    Returns:
      xi in -1 .. K.

    Raises:
      ValueError: not a histogram, or not a rate.
    """
    accepted = _accepted(different)
    if not 0 <= false_positive_rate <= 1:
        raise ValueError(f"false_positive_rate={false_positive_rate}: must lie in 0 .. 1")
    # In floating point .29 of 100 pairs would be 28.
    allowed = Fraction(str(float(false_positive_rate))) * int(accepted[-1])
    return int(np.sum(accepted <= allowed.numerator // allowed.denominator)) - 2


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    """The rate at which as many copies are missed as different images are taken for copies.

    Between the two thresholds around that point the curve is followed along a straight line, which is what a decision
    drawn at random between them attains.

    Args:
      same: int ``[K + 1]``, copies by distance.
      different: int ``[K + 1]``, pairs of different images by distance.

    Returns:
      The exact fraction, as the nearest float; above .5 where copies are farther than different images.

    Raises:
      ValueError: as in `roc_curve`.
    """
    detected, false_positives = (values.tolist() for values in _accepted_pair(same, different))
    missed = [1 - Fraction(count, detected[-1]) for count in detected]
    wrong = [Fraction(count, false_positives[-1]) for count in false_positives]
    after = next(place for place in range(len(missed)) if wrong[place] >= missed[place])
    # Threshold -1 misses everything and takes nothing for a copy, so there is one before.
    gap_before, gap_after = missed[after - 1] - wrong[after - 1], wrong[after] - missed[after]
    share = gap_before / (gap_before + gap_after)
    return float(wrong[after - 1] + share * (wrong[after] - wrong[after - 1]))


def area_under_curve(same: np.ndarray, different: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a copy is nearer than a different image, half counted for equal.

    Args and errors as in `roc_curve`.

    Returns:
      The exact fraction, as the nearest float.
    """
    detected, false_positives = (values.tolist() for values in _accepted_pair(same, different))
    steps = range(1, len(detected))
    doubled = sum((false_positives[k] - false_positives[k - 1]) * (detected[k] + detected[k - 1]) for k in steps)
    return float(Fraction(doubled, 2 * detected[-1] * false_positives[-1]))
