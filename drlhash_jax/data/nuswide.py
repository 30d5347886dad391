"""NUS-WIDE in its official layout: Groundtruth/AllLabels, ImageList/Imagelist.txt and the images in Flickr/."""

from pathlib import Path

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.data.image_store import image_dataset
from drlhash_jax.data.lists import check_distinct, check_inside, inner_name, read_text
from drlhash_jax.errors import UserError

# The 21 concepts with the most images, as the literature uses them.
CONCEPTS_21 = (
    *("sky", "clouds", "person", "water", "animal", "grass", "buildings", "window", "plants", "lake", "ocean"),
    *("road", "flowers", "sunset", "reflection", "rocks", "vehicle", "snow", "tree", "beach", "mountain"),
)
NUM_CONCEPTS = 81
LABEL_FOLDER = "Groundtruth/AllLabels"
IMAGE_LIST = "ImageList/Imagelist.txt"
IMAGE_FOLDER = "Flickr"


def read_concept(path: Path, num_rows: int) -> np.ndarray:
    """One concept's column, a line of 0 or 1 for every image: uint8 ``[num_rows]``.

    Raises:
      UserError: missing, another number of lines, or another value.
    """
    lines = read_text(path).split()
    if len(lines) != num_rows:
        raise UserError(f"{path} has {len(lines)} lines, {IMAGE_LIST} has {num_rows}: fetch it again")
    for number, line in enumerate(lines, 1):
        if line not in ("0", "1"):
            raise UserError(f"{path}, line {number}: {line[:20]!r} must be 0 or 1")
    return np.array(lines, "U1").astype(np.uint8)


def read_labels(root: Path, num_rows: int, concepts: tuple[str, ...]) -> np.ndarray:
    """Label matrix uint8 ``[num_rows, C]`` of some concepts."""
    return np.stack([read_concept(root / LABEL_FOLDER / f"Labels_{each}.txt", num_rows) for each in concepts], axis=1)


def _all_concepts(root: Path) -> tuple[str, ...]:
    found = sorted(path.stem.removeprefix("Labels_") for path in (root / LABEL_FOLDER).glob("Labels_*.txt"))
    if len(found) != NUM_CONCEPTS:
        raise UserError(f"{root / LABEL_FOLDER} has {len(found)} files Labels_*.txt, must have {NUM_CONCEPTS}")
    return tuple(found)


def _load(settings: DataSettings, source: str) -> Dataset:
    root = Path(needed_path(settings, source, f"the folder with {LABEL_FOLDER}, {IMAGE_LIST} and {IMAGE_FOLDER}"))
    path = root / IMAGE_LIST
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = [inner_name(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    check_distinct(names, str(path))
    concepts = CONCEPTS_21 if source == "nuswide21" else _all_concepts(root)
    labels = read_labels(root, len(names), concepts)
    labelled = np.flatnonzero(labels.any(axis=1))
    names = [names[row] for row in labelled]
    check_inside(root / IMAGE_FOLDER, names, str(path))
    return image_dataset(source, root / IMAGE_FOLDER, names, labels[labelled], settings, classes=concepts)


def load_nuswide21(settings: DataSettings) -> Dataset:
    """The images that carry one of the 21 most frequent concepts (195,834 of 269,648), in the official order."""
    return _load(settings, "nuswide21")


def load_nuswide81(settings: DataSettings) -> Dataset:
    """The images that carry one of all 81 concepts (209,347 of 269,648), in the official order."""
    return _load(settings, "nuswide81")
