"""Published weights as parameters of our encoders: names, transposes, and a list of everything that does not fit."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from drlhash_jax.encoders import efficientnet_lite
from drlhash_jax.encoders.vgg import STAGES as VGG_STAGES
from drlhash_jax.errors import UserError

# Our name of a layer's parameter -> the published one.
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Published kernels by rank: a convolution is (out, in, height, width), ours (height, width, in, out).
_TRANSPOSES = {4: (2, 3, 1, 0), 2: (1, 0)}
_LISTED = 10


def _alexnet_layers() -> dict[str, str]:
    convolutions = {f"conv{i}": f"features.{at}" for i, at in enumerate((0, 3, 6, 8, 10), 1)}
    return convolutions | {"dense1": "classifier.1", "dense2": "classifier.4"}


def _vgg_layers(batch_norm: bool) -> dict[str, str]:
    layers, position = {}, 0
    for stage, (_, num_layers) in enumerate(VGG_STAGES, 1):
        for layer in range(1, num_layers + 1):
            layers[f"conv{stage}_{layer}"] = f"features.{position}"
            if batch_norm:
                layers[f"norm{stage}_{layer}"] = f"features.{position + 1}"
            position += 3 if batch_norm else 2  # and the ReLU
        position += 1  # the pooling
    return layers | {"dense1": "classifier.0", "dense2": "classifier.3"}


def _efficientnet_layers(stages: tuple[efficientnet_lite.Stage, ...]) -> dict[str, str]:
    layers = {"stem": "_conv_stem", "stem_norm": "_bn0", "top": "_conv_head", "top_norm": "_bn1"}
    parts = {"expand": "_expand_conv", "depthwise": "_depthwise_conv", "project": "_project_conv"}
    parts |= {f"norm{i}": f"_bn{i}" for i in range(3)}
    for block in range(sum(stage.repeats for stage in stages)):
        layers |= {f"block{block}/{ours}": f"_blocks.{block}.{theirs}" for ours, theirs in parts.items()}
    return layers


class Published(NamedTuple):
    """Where the parameters of an encoder stand in a published file.

    Attributes:
      name: of the encoder.
      layers: our layer -> published layer.
      classifier: the published last layer, which is left out: the head is ours.
    """

    name: str
    layers: Mapping[str, str]
    classifier: str


ALEXNET = Published("alexnet", _alexnet_layers(), "classifier.6")
VGG19 = Published("vgg19", _vgg_layers(batch_norm=False), "classifier.6")
VGG19_BN = Published("vgg19_bn", _vgg_layers(batch_norm=True), "classifier.6")
EFFICIENTNET_LITE0 = Published("efficientnet_lite0", _efficientnet_layers(efficientnet_lite.LITE0), "_fc")
EFFICIENTNET_LITE2 = Published("efficientnet_lite2", _efficientnet_layers(efficientnet_lite.LITE2), "_fc")


def published_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape that a parameter of ours has in a published file."""
    if len(shape) not in _TRANSPOSES:
        return tuple(shape)
    return tuple(shape[axis] for axis in np.argsort(_TRANSPOSES[len(shape)]))


def published_names(
    published: Published, encoder: nn.Module, image_size: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Where each parameter of an encoder is found in a published file.

    Args:
      published: where its parameters stand in the file.
      encoder: the module.
      image_size: side of its images.

    Returns:
      Path of each parameter but the head's, e.g. "conv1/kernel" -> (published name, published shape).
    """
    sample = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x)["params"], sample)
    del shapes["head"]
    found = {}
    for path, leaf in flatten_dict(shapes, sep="/").items():
        layer, _, part = path.rpartition("/")
        found[path] = f"{published.layers[layer]}.{_LEAVES[part]}", published_shape(leaf.shape)
    return found


def _problems(expected: dict[str, tuple], arrays: Mapping[str, np.ndarray], classifier: str) -> list[str]:
    """What does not fit, a line each: tensors missing or of another shape or type, and tensors left over."""
    problems = []
    for name, shape in expected.values():
        if name not in arrays:
            problems.append(f"{name} {list(shape)} is missing")
        elif arrays[name].shape != shape:
            problems.append(f"{name} is {list(arrays[name].shape)}, expected {list(shape)}")
        elif not jnp.issubdtype(arrays[name].dtype, jnp.floating):
            problems.append(f"{name} is {arrays[name].dtype}, expected floating point")
        elif not np.isfinite(arrays[name].astype(np.float32)).all():
            problems.append(f"{name} holds NaN or infinity")
    names = {name for name, _ in expected.values()}
    ignored = lambda name: name.startswith(f"{classifier}.") or name.endswith(".num_batches_tracked")
    left_over = [f"{name[:80]} is not part of it" for name in arrays if name not in names and not ignored(name)]
    return _cut(problems) + _cut(left_over)


def _cut(lines: list[str]) -> list[str]:
    return lines[:_LISTED] + ([f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else [])


def import_weights(
    published: Published, encoder: nn.Module, arrays: Mapping[str, np.ndarray], image_size: int = 224
) -> dict:
    """Published weights as parameters.

    Args:
      published: where its parameters stand in the file.
      encoder: the module.
      arrays: published name -> array of a floating-point type; the classifier's tensors and counters are ignored.
      image_size: side of the encoder's images.

    Returns:
      Parameters float32 of every layer but the head, as nested dictionaries of NumPy arrays.

    Raises:
      UserError: lists every tensor that is missing, left over or of a wrong shape or type.
    """
    expected = published_names(published, encoder, image_size)
    problems = _problems(expected, arrays, published.classifier)
    if problems:
        raise UserError(f"not the weights of {published.name}: {'; '.join(problems)}")
    params = {}
    for path, (name, shape) in expected.items():
        array = arrays[name].transpose(_TRANSPOSES.get(len(shape), range(len(shape))))
        params[path] = np.ascontiguousarray(array, np.float32)
    return unflatten_dict(params, sep="/")
