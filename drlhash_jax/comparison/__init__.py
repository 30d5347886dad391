"""Methods and their rivals on equal terms: one encoder, one budget, the same splits and seeds, one table."""

from drlhash_jax.comparison.compare import compare
from drlhash_jax.comparison.settings import comparison_config

__all__ = ["compare", "comparison_config"]
