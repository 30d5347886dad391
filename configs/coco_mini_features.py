"""350 MS-COCO photographs as embeddings with 80 labels: multi-label data end to end, in a minute.

python -m drlhash_jax.main --config=configs/coco_mini_features.py --workdir=runs/coco_mini
"""

from drlhash_jax.config import default_config


def get_config():
    """200 training rows, 50 queries, 300 rows searched."""
    config = default_config()
    config.bits = (16, 32, 48)
    config.data.source = "coco_mini_features"
    config.data.protocol = "random"
    config.data.query = 50
    config.data.train = 200
    config.data.train_in_database = True
    config.encoder.name = "mlp"
    config.encoder.options = {"hidden": (512,)}
    config.training.num_epochs = 20
    config.training.optimizer = "adam"
    config.training.learning_rate = 1e-3
    config.training.head_learning_rate = 1e-3
    config.training.schedule = "cosine"
    config.reward.num_queries = 60
    return config
