"""The configuration that benchmarks of one method share: that of the README's table of CIFAR-10 embeddings."""

import runpy
from pathlib import Path

from ml_collections import ConfigDict

_CONFIGS = Path(__file__).parents[1] / "configs"


def table_config(method: str, bits: int) -> ConfigDict:
    """Codes of one length by one method, without what follows; trained by Adam at 1e-3 with weight decay 3."""
    config = runpy.run_path(str(_CONFIGS / "cifar10_features.py"))["get_config"]()
    config.method, config.pool_bits, config.bits, config.last_stage = method, bits, (bits,), "encoder"
    config.training.optimizer = "adam"
    config.training.learning_rate = config.training.head_learning_rate = 1e-3
    config.training.weight_decay = 3.0
    return config
