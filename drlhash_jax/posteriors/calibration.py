"""How good class posteriors are, and the temperature and the mixture of logits at which they are best."""

from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.special


def label_targets(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Multi-hot bool ``[n, C]`` of class numbers or multi-hot labels."""
    return labels[:, None] == np.arange(num_classes) if labels.ndim == 1 else labels != 0


def log_loss(posterior: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of class numbers, or of each label: the smaller, the better the posterior."""
    clipped = np.clip(posterior.astype(np.float64), 1e-12, 1.0 - 1e-12)
    targets = label_targets(labels, posterior.shape[1])
    if labels.ndim == 1:
        return float(-np.log(clipped[targets]).mean())
    return float(-np.where(targets, np.log(clipped), np.log1p(-clipped)).mean())


def posterior_of(logits: np.ndarray, single: bool) -> np.ndarray:
    """float32 ``[n, C]``: softmax of logits where every row has one label, sigmoid otherwise."""
    found = scipy.special.softmax(logits, axis=1) if single else scipy.special.expit(logits)
    return found.astype(np.float32)


def find_temperature(scores: np.ndarray, prior: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The temperature T from .01 to 10 at which scores / T + prior have the smallest log loss, and that loss.

    Args:
      scores: ``[n, C]``.
      prior: ``[C]``.
      labels: class numbers ``[n]``, or multi-hot ``[n, C]``.
    """
    loss = lambda log_t: log_loss(posterior_of(scores / np.exp(log_t) + prior, labels.ndim == 1), labels)
    found = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.01), np.log(10.0)), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def stack_logits(logits: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Weights float32 ``[S]`` of classifiers at which the weighted sum of their logits has the smallest log loss.

    Args:
      logits: of each classifier, float32 ``[m, C]``, for rows that it did not see.
      labels: class numbers ``[m]``, or multi-hot ``[m, C]``.
    """
    stacked = np.stack(logits).astype(np.float64)
    targets, single = label_targets(labels, stacked.shape[2]), labels.ndim == 1

    # In float64 and with its slope, so that equal logits up to rounding have equal weights up to rounding.
    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.tensordot(weights, stacked, 1)
        if single:
            log_p = scipy.special.log_softmax(mixed, axis=1)
            value, residual = -log_p[targets].mean(), (np.exp(log_p) - targets) / len(targets)
        else:
            value = np.mean(np.logaddexp(0.0, mixed) - targets * mixed)
            residual = (scipy.special.expit(mixed) - targets) / targets.size
        return value, np.einsum("mc,smc->s", residual, stacked)

    start = np.full(len(logits), 1.0 / len(logits))
    found = scipy.optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    return found.x.astype(np.float32)
