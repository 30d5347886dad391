"""Kernel ridge regression onto labels: class posteriors of features, and in closed form what it says of rows left out.

With K_ij = exp(-b |x_i - x_j|^2) of n training rows and targets T = Y - f (labels less their frequencies), the scores
of a row x are k(x) A with A = (K + lambda I)^-1 T, and the scores of training row i of a fit that did not see it are
T_i - A_i / ((K + lambda I)^-1)_ii. (Rifkin and Lippert, "Notes on regularized least-squares", MIT 2007, 3.2.) Features
are divided by the fourth root of their standard deviation, which evens out directions a little, and then have length 1.

What a fit costs are its Cholesky decompositions in float64, one for each b and lambda tried: n^3 operations each.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special

from drlhash_jax.posteriors.calibration import find_temperature, label_targets
from drlhash_jax.posteriors.scaling import scaled_rows, spread_of, unit_rows
from drlhash_jax.types import Array

# b of exp(-b d^2 / median d^2) is searched at the first lambda, then the other lambdas at the best b.
_BANDWIDTHS = (0.75, 1.5, 3.0)
_PENALTIES = (0.2, 0.05, 0.8)
# Kernels of more rows than this take more than 10 GB and hours.
MOST_KERNEL_ROWS = 20_000
# Rows whose distances give the median, evenly spaced.
_MEDIAN_ROWS = 1_000


class KernelRidge(NamedTuple):
    """A kernel ridge regression that was fitted.

    Attributes:
      params: "scale" float32 ``[D]``, "train" ``[n, D]`` (scaled, of length 1), "rate" ``[]`` (b), "weights" ``[n, C]``
        (A over the temperature) and "prior" ``[C]``, the logarithm or log-odds of the labels' frequencies.
      held_out: float32 ``[n, C]``, logits of the training rows, each of a fit that did not see it.
    """

    params: dict[str, np.ndarray]
    held_out: np.ndarray


def leave_one_out(kernel: np.ndarray, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Kernel ridge regression, and what it would say about each row had it not seen it.

    Args:
      kernel: float64 ``[n, n]``, K.
      targets: float64 ``[n, C]``, T.
      penalty: lambda.

    Returns:
      A = (K + lambda I)^-1 T float64 ``[n, C]``, and the scores T_i - A_i / ((K + lambda I)^-1)_ii float64 ``[n, C]``.
    """
    factor = scipy.linalg.cholesky(kernel + penalty * np.eye(len(kernel)), lower=True, overwrite_a=True)
    weights = scipy.linalg.cho_solve((factor, True), targets)
    inverse, _ = scipy.linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
    # (L L^T)^-1 = L^-T L^-1.
    diagonal = np.einsum("ij,ij->j", inverse, inverse)
    return weights, targets - weights / diagonal[:, None]


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances float64 of rows of length 1."""
    return np.maximum(2.0 - 2.0 * a.astype(np.float64) @ b.T.astype(np.float64), 0.0)


def fit_kernel_ridge(train: np.ndarray, labels: np.ndarray, num_classes: int) -> KernelRidge:
    """Fits the regression.

    Bandwidth, penalty and temperature have the smallest log loss of rows that are left out, one at a time. The
    frequencies are taken as known there.

    Args:
      train: float32 ``[n, D]``, n at most 20,000.
      labels: class numbers int ``[n]``, or multi-hot ``[n, C]``.
      num_classes: C.

    Returns:
      KernelRidge.
    """
    scale = spread_of(train) ** np.float32(0.25)
    train = unit_rows(train / scale)
    sample = train[:: -(-len(train) // _MEDIAN_ROWS)]
    median = max(float(np.median(_squares(sample, sample)[np.triu_indices(len(sample), 1)])), 1e-12)
    targets, single = label_targets(labels, num_classes), labels.ndim == 1
    frequency = (targets.sum(axis=0) + 1.0) / (len(targets) + 2.0)
    prior = np.log(frequency) if single else scipy.special.logit(frequency)
    squares = _squares(train, train) / median

    def fit(bandwidth: float, penalty: float) -> tuple[float, float, np.ndarray, np.ndarray]:
        weights, scores = leave_one_out(np.exp(-bandwidth * squares), targets - frequency, penalty)
        temperature, loss = find_temperature(scores, prior, labels)
        return loss, bandwidth, weights / temperature, scores / temperature + prior

    first, *others = _PENALTIES
    best = min((fit(bandwidth, first) for bandwidth in _BANDWIDTHS), key=lambda found: found[0])
    best = min(best, *(fit(best[1], penalty) for penalty in others), key=lambda found: found[0])
    _, bandwidth, weights, held_out = best
    params = {"scale": scale, "train": train, "rate": bandwidth / median, "weights": weights, "prior": prior}
    return KernelRidge({name: np.float32(value) for name, value in params.items()}, held_out.astype(np.float32))


def kernel_logits(params: dict[str, Array], x: Array) -> Array:
    """Logits float32 ``[B, C]`` of inputs ``[B, D]``; for params see `KernelRidge`."""
    scaled = scaled_rows(x, params["scale"])
    squares = jnp.maximum(2.0 - 2.0 * scaled @ params["train"].T, 0.0)
    return jnp.exp(-params["rate"] * squares) @ params["weights"] + params["prior"][None]
