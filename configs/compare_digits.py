"""All methods on scikit-learn's digits, small enough for a look: one seed, two lengths, three settings searched.

python -m drlhash_jax.main compare --config=configs/compare_digits.py --workdir=runs/compare_digits --jobs=2
"""

from drlhash_jax.comparison.settings import comparison_config
from drlhash_jax.config import default_config


def get_config():
    """Digits as images, the compact network, 8 and 16 bits."""
    base = default_config()
    base.data.query = 30
    base.data.train = 50
    base.encoder.name = "compact"
    base.encoder.options = {"width": 8}
    base.training.num_epochs = 15
    base.training.batch_size = 50
    base.training.optimizer = "adam"
    base.training.learning_rate = 3e-3
    base.training.head_learning_rate = 3e-3
    base.training.schedule = "cosine"
    config = comparison_config(base)
    config.compare.bits = (8, 16)
    config.compare.seeds = (0,)
    config.compare.num_settings = 3
    config.compare.search_bits = 16
    config.trainings = {"slower": {"learning_rate": 1e-3, "head_learning_rate": 1e-3}}
    return config
