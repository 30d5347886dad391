"""CIFAR-10 pixels (JPEG-recompressed at quality 75), protocol C-54, the compact convolutional encoder.

python -m drlhash_jax.main --config=configs/cifar10.py --workdir=runs/c10_pixels
"""

from drlhash_jax.config import default_config


def get_config():
    """5,000 training images, 1,000 queries, 54,000 images searched."""
    config = default_config()
    config.bits = (16, 32, 48)
    config.data.source = "cifar10"
    config.data.protocol = "C-54"
    config.encoder.name = "compact"
    config.encoder.options = {"width": 32}
    config.training.num_epochs = 30
    config.training.batch_size = 64
    config.training.optimizer = "adam"
    config.training.learning_rate = 2e-3
    config.training.head_learning_rate = 2e-3
    config.training.schedule = "cosine"
    config.training.max_shift = 4
    config.reward.num_folds = 2
    config.reward.num_queries = 1000
    return config
