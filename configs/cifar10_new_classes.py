"""CIFAR-10 embeddings, protocol C-8+2: queries of two classes that no training row has, among rows of all ten.

python -m drlhash_jax.main --config=configs/cifar10_new_classes.py --workdir=runs/new_classes

64 bits of `erh_two`, the last 16 of them directions of the features that a query of a known class silences. With
--config.data.protocol=C-54 all ten classes are trained on.
"""

import runpy
from pathlib import Path


def get_config():
    """Data, encoder and budget of `cifar10_erh.py`."""
    config = runpy.run_path(str(Path(__file__).with_name("cifar10_erh.py")))["get_config"]()
    config.method = "erh_two"
    config.pool_bits = 64
    config.bits = (48,)
    config.data.protocol = "C-8+2"
    config.training.weight_decay = 3.0
    config.erh.nested = ()
    config.erh.novel = 0.1
    config.erh.geometry_bits = 16
    return config
