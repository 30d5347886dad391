"""Every method and its rivals on embeddings of 350 MS-COCO photographs, 80 labels.

python -m drlhash_jax.main compare --config=configs/compare_coco_features.py --workdir=runs/compare_coco --jobs=2

Three seeds, two lengths, eight settings of each method on held-out training rows. Small and noisy: look at intervals.
"""

import runpy
from pathlib import Path

from drlhash_jax.comparison.settings import comparison_config


def get_config():
    """Data, encoder and budget of `coco_mini_features.py`, for every method."""
    base = runpy.run_path(str(Path(__file__).with_name("coco_mini_features.py")))["get_config"]()
    config = comparison_config(base)
    config.compare.bits = (16, 32)
    momentum = {"optimizer": "momentum", "learning_rate": 0.1, "head_learning_rate": 0.1}
    adam = {"learning_rate": 1e-3, "head_learning_rate": 1e-3}
    config.trainings = {
        "momentum": momentum,
        "fast momentum": momentum | {"learning_rate": 1.0, "head_learning_rate": 1.0},
        "decayed": adam | {"weight_decay": 3.0},
        "slow": {"learning_rate": 2e-4, "head_learning_rate": 2e-4},
    }
    # Features: there are no images to generate.
    config.methods = {"hashgan": {"hashgan": {"gan": False}}}
    return config
