"""scikit-learn's digits through all three stages: the first run on a new machine.

python -m drlhash_jax.main --config=configs/digits.py

Expected: mAP about .84 with all 64 bits; one to two minutes on 2 cores.
"""

from drlhash_jax.config import default_config


def get_config():
    """100 training images, 200 queries, 1,497 images searched."""
    config = default_config()
    config.bits = (8, 16, 32)
    config.data.source = "digits"
    config.data.protocol = "balanced"
    config.data.query = 20
    config.data.train = 10
    config.encoder.name = "compact"
    config.encoder.options = {"width": 16}
    config.mapping.num_epochs = 20
    config.mapping.optimizer = "adam"
    config.mapping.learning_rate = 3e-3
    config.mapping.head_learning_rate = 3e-3
    config.mapping.schedule = "cosine"
    config.reward.num_queries = 50
    config.ppo.num_updates = 60
    return config
