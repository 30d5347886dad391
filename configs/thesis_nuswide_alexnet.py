"""Thesis, Table 4.1: NUS-WIDE's 21 most frequent concepts, AlexNet from ImageNet weights, 16, 32 and 48 of 64 bits.

python -m drlhash_jax.main --config=configs/thesis_nuswide_alexnet.py --workdir=runs/thesis_nus \\
    --config.data.path=NUS-WIDE --config.encoder.weights=alexnet-owt-7be5be79.pth --config.data.num_workers=8

The thesis reports mAP .790, .798, .805 (16, 32, 48 bits) and .807 (64) with 21 concepts, beside other methods' numbers
with 81; for those take --config.data.source=lists --config.data.protocol=N-81m with HashNet's lists. Here mAP@5000, as
is usual on NUS-WIDE. Run: not yet, for want of the photographs, the weights and an accelerator.
"""

from drlhash_jax.config import thesis_config


def get_config():
    """10,500 training images, 2,100 queries, 193,734 images searched; the decoded images take 36 GiB of disk."""
    config = thesis_config()
    config.bits = (16, 32, 48)
    config.top_k = 5000
    config.data.source = "nuswide21"
    config.data.protocol = "N-21"
    config.data.image_size = 256
    config.data.cache = "nuswide21_256.npy"
    config.encoder.name = "alexnet"
    config.encoder.weights = "alexnet-owt-7be5be79.pth"
    config.encoder.crop_size = 224
    config.training.max_shift = 16
    return config
