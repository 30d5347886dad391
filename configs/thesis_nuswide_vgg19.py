"""Thesis, Table 4.2: NUS-WIDE's 21 most frequent concepts, VGG-19 from ImageNet weights, 12, 24, 32 and 48 of 64 bits.

python -m drlhash_jax.main --config=configs/thesis_nuswide_vgg19.py --workdir=runs/thesis_nus_vgg19 \\
    --config.data.path=NUS-WIDE --config.encoder.weights=vgg19-dcbb9e9d.pth --config.data.num_workers=8

The thesis reports mAP .839, .862, .868, .871 (12, 24, 32, 48 bits); here mAP@5000, as is usual on NUS-WIDE. Run: not
yet, for want of the photographs, the weights and an accelerator.
"""

from drlhash_jax.config import thesis_config


def get_config():
    """10,500 training images, 2,100 queries, 193,734 images searched; the decoded images take 36 GiB of disk."""
    config = thesis_config()
    config.bits = (12, 24, 32, 48)
    config.top_k = 5000
    config.data.source = "nuswide21"
    config.data.protocol = "N-21"
    config.data.image_size = 256
    config.data.cache = "nuswide21_256.npy"
    config.encoder.name = "vgg19"
    config.encoder.weights = "vgg19-dcbb9e9d.pth"
    config.encoder.crop_size = 224
    config.training.max_shift = 16
    return config
