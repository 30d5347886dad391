"""Models from your own embeddings or images in one step, sized by the data, and how good they are."""

from drlhash_jax.fitting.fit import Choice, Fitted, embeddings_fit, fit, images_fit
from drlhash_jax.fitting.own_data import embeddings_config, images_config

__all__ = [
    "Choice",
    "Fitted",
    "embeddings_config",
    "embeddings_fit",
    "fit",
    "images_config",
    "images_fit",
]
