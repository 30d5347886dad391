"""scikit-learn's digits through all three stages: the first run on a new machine.

python -m drlhash_jax.main --config=configs/digits.py

Of 64 bits four or eight are kept. Expected, seed 0: mAP .943 with all 64 bits. At 4 bits it matters which are kept:
.923 by PPO, .914 by greedy selection, .80 +- .08 at random, and .83 by an encoder trained with 4 bits. At 8 bits it
hardly matters: .92 to .94 whatever the choice. About two minutes on 2 cores.
"""

from drlhash_jax.config import default_config


def get_config():
    """400 training images, 200 queries, 1,197 images searched."""
    config = default_config()
    config.bits = (4, 8)
    config.data.source = "digits"
    config.data.protocol = "balanced"
    config.data.query = 20
    config.data.train = 40
    config.encoder.name = "compact"
    config.encoder.options = {"width": 16}
    config.training.num_epochs = 30
    config.training.optimizer = "adam"
    config.training.learning_rate = 3e-3
    config.training.head_learning_rate = 3e-3
    config.training.schedule = "cosine"
    config.reward.num_queries = 200
    config.ppo.num_updates = 60
    return config
