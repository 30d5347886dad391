"""MS-COCO 2014 in its official layout: annotations/instances_{train,val}2014.json, train2014/ and val2014/."""

import json
from pathlib import Path

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.data.image_store import image_dataset
from drlhash_jax.data.images import Skipped
from drlhash_jax.data.lists import check_distinct, check_inside, inner_name, read_text
from drlhash_jax.errors import UserError

PARTS = ("train2014", "val2014")


def read_annotations(path: Path) -> tuple[dict[int, str], dict[int, str], list[tuple[int, int]]]:
    """Reads an instances_*.json.

    Returns:
      Image number -> file name, category number -> name, and the (image, category) pairs of all annotations, crowds
      included.

    Raises:
      UserError: missing, damaged, or no such file.
    """
    try:
        content = json.loads(read_text(path))
        images = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        categories = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        pairs = [(int(each["image_id"]), int(each["category_id"])) for each in content["annotations"]]
    except UserError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a COCO instances file ({type(error).__name__}: {error}): fetch it again"
        ) from error
    for image, category in pairs:
        if image not in images or category not in categories:
            raise UserError(f"{path}: an annotation names image {image} and category {category}, one is not listed")
    return images, categories, pairs


def label_matrix(annotations: dict[str, tuple]) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """File names, labels and classes of both parts.

    Args:
      annotations: part -> what `read_annotations` returns.

    Returns:
      Names such as train2014/COCO_train2014_000000000009.jpg, training part first, sorted in each part; labels uint8
      ``[N, C]``; classes in alphabetical order, not in that of the category numbers.

    Raises:
      UserError: the parts have different categories, or a file name leads out of its folder.
    """
    (first, (_, categories, _)), (second, (_, others, _)) = annotations.items()
    if categories != others:
        raise UserError(f"the categories of instances_{first}.json and instances_{second}.json differ")
    classes = tuple(sorted(categories.values()))
    column = {number: classes.index(name) for number, name in categories.items()}
    names: list[str] = []
    labels = []
    for part, (images, _, pairs) in annotations.items():
        where = f"instances_{part}.json"
        ordered = sorted(images, key=images.__getitem__)
        row = {image: place for place, image in enumerate(ordered)}
        found = np.zeros((len(ordered), len(classes)), np.uint8)
        if pairs:
            places, columns = zip(*((row[image], column[category]) for image, category in pairs))
            found[list(places), list(columns)] = 1
        names += [f"{part}/{inner_name(images[image], where)}" for image in ordered]
        labels.append(found)
    check_distinct(names, "the image lists of both parts")
    return names, np.concatenate(labels), classes


def load_coco(settings: DataSettings) -> Dataset:
    """Both parts of MS-COCO 2014: 122,218 labelled images of 123,287; those without annotations are listed as skipped.

    Rows are in order of file name and classes in alphabetical order.
    """
    root = Path(needed_path(settings, "coco", "the folder with annotations/, train2014/ and val2014/"))
    annotations = {part: read_annotations(root / "annotations" / f"instances_{part}.json") for part in PARTS}
    names, labels, classes = label_matrix(annotations)
    has_labels = labels.any(axis=1)
    labelled = [names[row] for row in np.flatnonzero(has_labels)]
    ignored = tuple(Skipped(names[row], "no annotation") for row in np.flatnonzero(~has_labels))
    check_inside(root, labelled, str(root))
    return image_dataset("coco", root, labelled, labels[has_labels], settings, classes=classes, ignored=ignored)
