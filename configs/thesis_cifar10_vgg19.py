"""Thesis, Table 4.2: CIFAR-10, VGG-19 from ImageNet weights, 12, 24, 32 and 48 of 64 bits.

python -m drlhash_jax.main --config=configs/thesis_cifar10_vgg19.py --workdir=runs/thesis_c10_vgg19 \\
    --config.data.path=cifar-10-binary.tar.gz --config.encoder.weights=vgg19-dcbb9e9d.pth

The thesis reports mAP .857, .876, .881, .883 (12, 24, 32, 48 bits). Run: not yet, for want of the weights and an
accelerator.
"""

from drlhash_jax.config import thesis_config


def get_config():
    """5,000 training images, 1,000 queries, 54,000 images searched; 32 pixels are enlarged to 224 on the device."""
    config = thesis_config()
    config.bits = (12, 24, 32, 48)
    config.data.source = "cifar10_binary"
    config.data.protocol = "C-54"
    config.encoder.name = "vgg19"
    config.encoder.weights = "vgg19-dcbb9e9d.pth"
    config.encoder.image_size = 224
    config.training.max_shift = 0
    return config
