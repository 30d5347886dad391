"""Your own embeddings with labels; sizes are chosen from the number of rows and classes.

python -m drlhash_jax.main --config=configs/own_embeddings.py:FEATURES,LABELS

FEATURES is an array [N, D]; LABELS are integers [N], negative for none, or multi-hot [N, C]. Each is FILE.npy,
FILE.npz:KEY or FILE.safetensors:KEY. One FILE.npz with the keys features and labels will do as well. Any field can be
overridden, for instance --config.data.train=50000.
"""

from drlhash_jax.data import sizing
from drlhash_jax.errors import UserError
from drlhash_jax.fitting import embeddings_config


def get_config(addresses=""):
    """Random queries and training rows; the other rows are searched."""
    if not addresses:
        raise UserError("name your files behind a colon: --config=configs/own_embeddings.py:FEATURES,LABELS")
    return embeddings_config(*sizing.split_addresses(addresses))
