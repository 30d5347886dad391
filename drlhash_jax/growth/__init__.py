"""Databases that grow: codes of new rows beside old ones that stay, and a network that finds both."""

from drlhash_jax.growth.codes import learn_codes
from drlhash_jax.growth.grow import BUNDLE, Grown, Request, Score, grow

__all__ = ["BUNDLE", "Grown", "Request", "Score", "grow", "learn_codes"]
