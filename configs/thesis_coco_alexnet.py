"""Thesis, Table 4.1: MS-COCO 2014 with 80 labels, AlexNet from ImageNet weights, 16, 32 and 48 of 64 bits.

python -m drlhash_jax.main --config=configs/thesis_coco_alexnet.py --workdir=runs/thesis_coco \\
    --config.data.path=FOLDER --config.encoder.weights=alexnet-owt-7be5be79.pth --config.data.num_workers=8

FOLDER holds the images and the lists train.txt, test.txt and database.txt that HashNet published. The thesis reports
mAP .748, .767, .790 (16, 32, 48 bits) and .776 (64); here mAP@5000, as in the papers that it compares with. Run: not
yet, for want of the photographs, the weights and an accelerator; configs/coco_labels.py runs stage 1 on the labels.
"""

from drlhash_jax.config import thesis_config


def get_config():
    """10,000 training images, 5,000 queries, 117,218 images searched; the decoded images take 22 GiB of disk."""
    config = thesis_config()
    config.bits = (16, 32, 48)
    config.top_k = 5000
    config.data.source = "lists"
    config.data.protocol = "CO"
    config.data.image_size = 256
    config.data.cache = "coco_256.npy"
    config.encoder.name = "alexnet"
    config.encoder.weights = "alexnet-owt-7be5be79.pth"
    config.encoder.crop_size = 224
    config.training.max_shift = 16
    return config
