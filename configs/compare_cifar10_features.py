"""Every method and its rivals on CIFAR-10 embeddings, protocol C-54; and for classes that were never trained on.

python -m drlhash_jax.main compare --config=configs/compare_cifar10_features.py --workdir=runs/compare --jobs=2

Three seeds, four lengths; eight settings of each method are tried on held-out training rows first. The second table
(C-8+2) labels eight classes and queries the other two, at 32 bits. Hours on 2 cores; it goes on where it was stopped.
"""

from drlhash_jax.comparison.settings import comparison_config
from drlhash_jax.config import default_config


def get_config():
    """One hidden layer of 4,096 for every method that trains an encoder, 20 epochs, batches of 128."""
    base = default_config()
    base.data.source = "cifar10_features"
    base.data.protocol = "C-54"
    base.encoder.name = "mlp"
    base.encoder.options = {"hidden": (4096,)}
    base.training.num_epochs = 20
    base.training.batch_size = 128
    base.training.optimizer = "momentum"
    base.training.learning_rate = 1.0
    base.training.head_learning_rate = 1.0
    base.training.schedule = "cosine"
    config = comparison_config(base)
    config.compare.unseen = "C-8+2"
    config.compare.unseen_bits = (32,)
    adam = {"optimizer": "adam", "learning_rate": 1e-3, "head_learning_rate": 1e-3}
    config.trainings = {
        "slow": {"learning_rate": 0.1, "head_learning_rate": 0.1},
        "adam": adam,
        "decayed adam": adam | {"weight_decay": 3.0},
        "slow adam": adam | {"learning_rate": 2e-4, "head_learning_rate": 2e-4},
    }
    return config
