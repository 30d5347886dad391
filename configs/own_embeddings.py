"""Your own embeddings with labels; sizes are chosen from the number of rows and classes.

python -m drlhash_jax.main --config=configs/own_embeddings.py:FEATURES,LABELS

FEATURES is an array [N, D]; LABELS are integers [N], negative for none, or multi-hot [N, C]. Each is FILE.npy,
FILE.npz:KEY or FILE.safetensors:KEY. One FILE.npz with the keys features and labels will do as well. Any field can be
overridden, for instance --config.data.train=50000.
"""

import numpy as np

from drlhash_jax.config import default_config
from drlhash_jax.data import read_array, sizing
from drlhash_jax.errors import UserError


def _count_classes(labels):
    return labels.shape[1] if labels.ndim == 2 else len(np.unique(labels[labels >= 0]))


def get_config(addresses=""):
    """Random queries and training rows; the other rows are searched."""
    if not addresses:
        raise UserError("name your files behind a colon: --config=configs/own_embeddings.py:FEATURES,LABELS")
    features, labels = sizing.split_addresses(addresses)
    label_values = np.atleast_1d(read_array(labels))
    sizes = sizing.choose_sizes(len(label_values), _count_classes(label_values), sizing.FEATURES)
    config = default_config()
    config.bits = (16, 32)
    config.data.source = "embeddings"
    config.data.path = features
    config.data.labels_path = labels
    config.data.protocol = "random"
    config.data.query = sizes.query
    config.data.train = sizes.train
    config.encoder.name = "mlp"
    config.encoder.options = {"hidden": (1024,)}
    config.training.num_epochs = sizes.num_epochs
    config.training.batch_size = sizes.batch_size
    config.training.optimizer = "adam"
    config.training.learning_rate = 1e-3
    config.training.head_learning_rate = 1e-3
    config.training.schedule = "cosine"
    config.reward.num_queries = sizes.reward_queries
    config.reward.num_folds = sizes.num_folds
    return config
