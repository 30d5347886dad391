"""Prepares TensorFlow Datasets' cifar10 as array_record from the official binary archive, without TensorFlow.

python -m drlhash_jax.data.tfds_cifar10_builder cifar-10-binary.tar.gz ~/tensorflow_datasets

tfds's own builder needs TensorFlow to encode images. The examples of this one are the same, and
`tfds.data_source('cifar10', data_dir=..., download=False)` reads them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from PIL import Image

from drlhash_jax.data.cifar import read_binary
from drlhash_jax.errors import UserError

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """CIFAR-10 under the name, version and features of tfds; not registered, so that it does not shadow theirs."""

    VERSION = tfds.core.Version("3.0.2")

    def __init__(self, archive: Path, **kwargs):
        """Prepares `archive` when asked to; see `prepare`."""
        self._archive = archive
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(names=_CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="CIFAR-10, prepared from the official binary archive.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        splits, _ = read_binary(self._archive)
        return {name: self._generate_examples(name, *arrays) for name, arrays in splits.items()}

    def _generate_examples(self, split: str, labels, images) -> Iterator[tuple[int, dict]]:
        for row, (label, image) in enumerate(zip(labels.tolist(), images)):
            # Arrays would be encoded by TensorFlow, Pillow's images are encoded by Pillow.
            yield row, {"id": f"{split}_{row:05d}", "image": Image.fromarray(image), "label": label}


def prepare(archive: str | Path, data_dir: str | Path) -> None:
    """Writes cifar10/3.0.2 below a folder; does nothing if it is there.

    Args:
      archive: cifar-10-binary.tar.gz or its folder.
      data_dir: folder for tfds.

    Raises:
      UserError: the archive is missing or damaged.
    """
    read_binary(Path(archive))
    Cifar10(Path(archive), data_dir=data_dir).download_and_prepare()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m drlhash_jax.data.tfds_cifar10_builder ARCHIVE DATA_DIR")
    try:
        prepare(*sys.argv[1:])
    except UserError as user_error:
        sys.exit(f"drlhash_jax: {user_error}")
