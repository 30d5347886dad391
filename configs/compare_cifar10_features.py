"""Every method and its rivals on CIFAR-10 embeddings, protocol C-54; and for classes that were never trained on.

python -m drlhash_jax.main compare --config=configs/compare_cifar10_features.py --workdir=runs/compare --jobs=2

Three seeds, four lengths; eight settings of each method are tried on held-out training rows first. The second table
(C-8+2) labels eight classes and queries the other two, at 32 bits. Hours on 2 cores; it goes on where it was stopped.
"""

import runpy
from pathlib import Path

from drlhash_jax.comparison.settings import comparison_config


def get_config():
    """Data, encoder and budget of `cifar10_features.py`, for every method."""
    base = runpy.run_path(str(Path(__file__).with_name("cifar10_features.py")))["get_config"]()
    config = comparison_config(base)
    config.compare.unseen = "C-8+2"
    config.compare.unseen_bits = (32,)
    adam = {"optimizer": "adam", "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    config.trainings = {
        "slow": {"learning_rate": 0.1, "head_learning_rate": 0.1},
        "adam": adam,
        "decayed adam": adam | {"weight_decay": 3.0},
        "slow adam": adam | {"learning_rate": 2e-4, "head_learning_rate": 2e-4},
    }
    # Features: there are no images to generate.
    config.methods = {"hashgan": {"hashgan": {"gan": False}}}
    return config
