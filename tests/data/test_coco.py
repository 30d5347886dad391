"""MS-COCO 2014 in its official layout, small, and its label matrix at full size."""

import json

import numpy as np
import pytest

from drlhash_jax.data import load_dataset, make_split
from drlhash_jax.data.coco import label_matrix, read_annotations
from drlhash_jax.data.protocols import PROTOCOLS
from drlhash_jax.errors import UserError

# Numbered with gaps and not in alphabetical order, as published.
CATEGORIES = {1: "person", 5: "airplane", 90: "toothbrush"}
IMAGES = {
    "train2014": {30: [5, 1], 9: [1, 1], 25: []},
    "val2014": {42: [90], 8: [5]},
}


def file_name(part, image):
    return f"COCO_{part}_{image:012d}.jpg"


def content_of(part):
    return {
        "info": {"year": 2014},
        "categories": [{"id": number, "name": name, "supercategory": "x"} for number, name in CATEGORIES.items()],
        "images": [{"id": image, "file_name": file_name(part, image), "width": 7} for image in IMAGES[part]],
        "annotations": [
            {"id": 1, "image_id": image, "category_id": category, "iscrowd": int(category == 90), "bbox": [0, 0, 1, 1]}
            for image, categories in IMAGES[part].items()
            for category in categories
        ],
    }


def write_annotations(root, part, content):
    path = root / f"annotations/instances_{part}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path, write_image):
    for part, images in IMAGES.items():
        write_annotations(tmp_path, part, content_of(part))
        for image in images:
            write_image(tmp_path / part / file_name(part, image), image)
    return tmp_path


def load(root, **changes):
    return load_dataset("coco", str(root), **{"image_size": 4, "max_skipped": 0.5} | changes)


def refused(root, *words):
    with pytest.raises(UserError) as caught:
        load(root)
    assert all(word in str(caught.value) for word in words), caught.value


def test_layout(root):
    out = load(root)
    assert out.name == "coco" and out.classes == ("airplane", "person", "toothbrush")
    expected = [("train2014", 9), ("train2014", 30), ("val2014", 8), ("val2014", 42)]
    assert out.paths == tuple(f"{part}/{file_name(part, image)}" for part, image in expected)
    # Crowds count; an image that holds two persons has the label once.
    assert out.labels.tolist() == [[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert out.inputs[:, 0, 0, 0].tolist() == pytest.approx([9, 30, 8, 42], abs=1)
    assert out.skipped == ((f"train2014/{file_name('train2014', 25)}", "no annotation"),)


def test_missing_image(root):
    (root / "val2014" / file_name("val2014", 8)).unlink()
    out = load(root)
    assert len(out.labels) == 3 and out.skipped[-1].reason == "no such file"


def test_missing_annotations(root):
    (root / "annotations/instances_val2014.json").unlink()
    refused(root, "instances_val2014.json", "no such file")
    refused("", "data.path", "annotations/")


def damaged(key, value):
    return content_of("train2014") | {key: value}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(content_of("train2014"))[:-20], ["not a COCO instances file", "JSONDecodeError"]),
        ("[]", ["not a COCO instances file"]),
        # A captions file has annotations of another kind.
        (damaged("annotations", [{"image_id": 9, "caption": "a dog"}]), ["not a COCO instances file", "category_id"]),
        (damaged("annotations", [{"image_id": 77, "category_id": 1}]), ["image 77"]),
        (damaged("annotations", [{"image_id": 9, "category_id": 2}]), ["category 2"]),
        (damaged("images", [{"id": n, "file_name": "../../a.jpg"} for n in (9, 30)]), ["../../a.jpg", "inside"]),
        (damaged("images", [{"id": n, "file_name": "a.jpg"} for n in (9, 30)]), ["a.jpg", "again"]),
        (damaged("categories", [{"id": n, "name": f"class {n}"} for n in CATEGORIES]), ["categories", "differ"]),
    ],
)
def test_damaged_annotations(root, content, words):
    write_annotations(root, "train2014", content)
    refused(root, *words)


def test_published_lists(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("coco_labels")
    with np.load(shared_data / "coco_labels.npz", allow_pickle=False) as arrays:
        for protocol, prefix in (("CO", "hashnet"), ("CO-deephash", "deephash")):
            split = make_split(out, protocol, PROTOCOLS[protocol], 0)
            assert (len(split.query), len(split.train), len(split.database)) == (5_000, 10_000, 117_218)
            for part, rows in (("test", split.query), ("train", split.train), ("database", split.database)):
                np.testing.assert_array_equal(rows, arrays[f"{prefix}_{part}"])
            assert set(split.train.tolist()) <= set(split.database.tolist())
            assert out.labels[split.train].any(axis=1).all()


@pytest.mark.slow
def test_true_label_matrix_through_the_official_layout(shared_data, tmp_path):
    """The published matrix, written as annotations with shuffled numbers, comes back: rows, columns and order."""
    with np.load(shared_data / "coco_labels.npz", allow_pickle=False) as arrays:
        names, labels, classes = arrays["names"].astype(str), arrays["labels"], arrays["class_names"].tolist()
    rng = np.random.default_rng(0)
    numbers = rng.permutation(len(classes)) + 1
    annotations = {}
    for part in ("train2014", "val2014"):
        rows = rng.permutation([row for row, name in enumerate(names) if part in name])
        pairs = np.argwhere(labels[rows])
        content = {
            "categories": [{"id": int(number), "name": name} for number, name in zip(numbers, classes)],
            "images": [{"id": int(row), "file_name": str(names[row])} for row in rows],
            "annotations": [{"image_id": int(rows[row]), "category_id": int(numbers[column])} for row, column in pairs],
        }
        annotations[part] = read_annotations(write_annotations(tmp_path, part, content))
    found_names, found, found_classes = label_matrix(annotations)
    assert list(found_classes) == classes
    assert [name.split("/")[1] for name in found_names] == names.tolist()
    np.testing.assert_array_equal(found, labels)
