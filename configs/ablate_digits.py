"""What choosing bits is worth on scikit-learn's digits, small enough for a look: two seeds, 4 of 16 bits.

python -m drlhash_jax.main ablate --config=configs/ablate_digits.py --workdir=runs/ablate_digits
"""

import runpy
from pathlib import Path

from drlhash_jax.ablation import ablation_config


def get_config():
    """Data, encoder and budget of `digits.py`; the selectors that take a moment."""
    base = runpy.run_path(str(Path(__file__).with_name("digits.py")))["get_config"]()
    base.pool_bits = 16
    base.bits = (4,)
    config = ablation_config(base)
    config.ablate.pools = ("drlhash",)
    config.ablate.seeds = (0, 1)
    config.ablate.selectors = ("ppo", "greedy", "greedy_swaps", "annealing", "mutual_information", "random", "first")
    return config
