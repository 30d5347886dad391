"""Every method and its rivals on the pixels of Fashion-MNIST, the `compact` network, 16 and 32 bits.

apt-get install dataset-fashion-mnist
python -m drlhash_jax.main compare --config=configs/compare_fashion_mnist.py --workdir=runs/compare_fashion --jobs=2
"""

from drlhash_jax.comparison.settings import comparison_config
from drlhash_jax.config import default_config


def get_config():
    """1,000 training images, 500 queries, the other 68,500 searched; two settings of each method, one seed."""
    base = default_config()
    base.data.source = "idx"
    base.data.path = "/usr/share/datasets/fashion-mnist"
    base.data.protocol = "balanced"
    base.data.query = 50
    base.data.train = 100
    base.encoder.name = "compact"
    base.encoder.options = {"width": 16}
    base.training.num_epochs = 10
    base.training.batch_size = 100
    base.training.optimizer = "adam"
    base.training.learning_rate = 1e-3
    base.training.head_learning_rate = 1e-3
    base.training.schedule = "cosine"
    config = comparison_config(base)
    config.compare.bits = (16, 32)
    config.compare.seeds = (0,)
    config.compare.num_settings = 2
    config.trainings = {"faster": {"learning_rate": 3e-3, "head_learning_rate": 3e-3}}
    return config
