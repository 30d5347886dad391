"""Saved models at work: images and embeddings become codes in a bundle, and questions to one."""

from drlhash_jax.serving.ask import Wanted, ask_by_array, ask_by_image
from drlhash_jax.serving.fill import encode_array, encode_folder, existing_target, new_target
from drlhash_jax.serving.inputs import decode_blocks
from drlhash_jax.serving.models import image_spec, load, open_model_of
from drlhash_jax.serving.videos import ask_by_clip, encode_videos

__all__ = [
    "Wanted",
    "ask_by_array",
    "ask_by_clip",
    "ask_by_image",
    "decode_blocks",
    "encode_array",
    "encode_folder",
    "encode_videos",
    "existing_target",
    "image_spec",
    "load",
    "new_target",
    "open_model_of",
]
