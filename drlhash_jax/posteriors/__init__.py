"""Class posteriors of features from labels: kernel ridge regression, temperature, mixtures of classifiers, novelty."""

from drlhash_jax.posteriors.calibration import log_loss, posterior_of, stack_logits
from drlhash_jax.posteriors.kernel_ridge import MOST_KERNEL_ROWS, fit_kernel_ridge, kernel_logits
from drlhash_jax.posteriors.novelty import fit_novelty, novelty_log_odds
from drlhash_jax.posteriors.scaling import unit_rows

__all__ = [
    "MOST_KERNEL_ROWS",
    "fit_kernel_ridge",
    "fit_novelty",
    "kernel_logits",
    "log_loss",
    "novelty_log_odds",
    "posterior_of",
    "stack_logits",
    "unit_rows",
]
