"""CIFAR-10 embeddings, protocol C-54, codes of our own method: 48 bits whose first 8, 16, 24 and 32 are good codes too.

python -m drlhash_jax.main --config=configs/cifar10_erh.py --workdir=runs/erh

Seed 0: mAP .608, .645, .658 and .667 with the first 8, 16, 24 and 32 bits, .677 with all 48;
over three minutes on 2 cores.
One function codes queries and the database; --config.method=erh_two gives each its own.
"""

import runpy
from pathlib import Path


def get_config():
    """Data and protocol of `cifar10_features.py`; shorter codes are the first bits of longer ones."""
    config = runpy.run_path(str(Path(__file__).with_name("cifar10_features.py")))["get_config"]()
    config.method = "erh"
    config.pool_bits = 48
    config.bits = (8, 16, 24, 32)
    config.erh.nested = (8, 16, 24, 32)
    config.selectors = ("first",)
    config.train_direct = False
    config.reward.codes = "fitted"
    config.encoder.options = {"hidden": (1024,)}
    config.training.optimizer = "adam"
    config.training.learning_rate = 1e-3
    config.training.head_learning_rate = 1e-3
    return config
