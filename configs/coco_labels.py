"""Stage 1 alone on the 10,000 training label rows of MS-COCO, published list CO.

python -m drlhash_jax.main --config=configs/coco_labels.py --workdir=runs/coco_labels
"""

from drlhash_jax.config import default_config


def get_config():
    """3,845 distinct label sets among 10,000 rows; --config.target_codes.loss=similarity for the thesis's loss."""
    config = default_config()
    config.data.source = "coco_labels"
    config.data.protocol = "CO"
    config.last_stage = "target_codes"
    return config
