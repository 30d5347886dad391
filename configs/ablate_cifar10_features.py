"""The thesis's ablation on CIFAR-10 embeddings: pool by selector by length by reward, five seeds, C-54 and C-8+2.

python -m drlhash_jax.main ablate --config=configs/ablate_cifar10_features.py --workdir=runs/ablation

Hours on 2 cores; it goes on where it was stopped. Not run yet.
"""

import runpy
from pathlib import Path

from drlhash_jax.ablation import ablation_config


def get_config():
    """Data, encoder and budget of `cifar10_features.py`; three pools of 64 bits, and as many random projections."""
    base = runpy.run_path(str(Path(__file__).with_name("cifar10_features.py")))["get_config"]()
    config = ablation_config(base)
    config.ablate.unseen = "C-8+2"
    config.ablate.pools = ("drlhash", "csq", "hashnet", "lsh")
    adam = {"optimizer": "adam", "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    config.pools = {"csq": {"training": adam}, "hashnet": {"training": adam}}
    return config
