"""What choosing bits is worth: pool by selector by length by reward, over seeds, on seen and unseen classes."""

from drlhash_jax.ablation.ablate import ablate
from drlhash_jax.ablation.settings import ablation_config

__all__ = ["ablate", "ablation_config"]
