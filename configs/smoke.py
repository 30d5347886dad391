"""The whole chain in seconds, on digits with tiny settings: what the tests run. Its numbers mean nothing.

python -m drlhash_jax.main --config=configs/smoke.py
"""

from drlhash_jax.config import default_config


def get_config():
    """Two lengths out of 16 bits, every stage cut short."""
    config = default_config()
    config.pool_bits = 16
    config.bits = (4, 8)
    config.data.source = "digits"
    config.data.protocol = "balanced"
    config.data.query = 5
    config.data.train = 10
    config.target_codes.num_epochs = 60
    config.encoder.name = "compact"
    config.encoder.options = {"width": 8}
    config.training.num_epochs = 2
    config.training.optimizer = "adam"
    config.training.learning_rate = 3e-3
    config.training.head_learning_rate = 3e-3
    config.reward.num_folds = 2
    config.reward.num_queries = 30
    config.random_draws = 3
    config.ppo.num_updates = 10
    config.ppo.num_envs = 4
    config.ppo.num_minibatches = 2
    return config
