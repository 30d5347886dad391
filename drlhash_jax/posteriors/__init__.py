"""Class posteriors of features from labels: kernel ridge regression, temperature, and mixtures of classifiers."""

from drlhash_jax.posteriors.calibration import log_loss, posterior_of, stack_logits
from drlhash_jax.posteriors.kernel_ridge import (
    MOST_KERNEL_ROWS,
    fit_kernel_ridge,
    kernel_logits,
    unit_rows,
)

__all__ = [
    "MOST_KERNEL_ROWS",
    "fit_kernel_ridge",
    "kernel_logits",
    "log_loss",
    "posterior_of",
    "stack_logits",
    "unit_rows",
]
