"""NUS-WIDE's official layout, small, and its label matrix at full size."""

import numpy as np
import pytest

from drlhash_jax.data import load_dataset, make_split
from drlhash_jax.data.nuswide import CONCEPTS_21, read_labels
from drlhash_jax.data.protocols import PROTOCOLS
from drlhash_jax.errors import UserError

# As many as the official ones, 21 of them with their names.
CONCEPTS = sorted([*CONCEPTS_21, *(f"other{number}" for number in range(60))])
NUM_ROWS = 6


def write_labels(root, labels, concepts=CONCEPTS):
    folder = root / "Groundtruth/AllLabels"
    folder.mkdir(parents=True, exist_ok=True)
    for concept, column in zip(concepts, labels.T):
        (folder / f"Labels_{concept}.txt").write_bytes(b"\n".join(b"%d" % value for value in column) + b"\n")


@pytest.fixture
def root(tmp_path, write_image):
    labels = np.zeros((NUM_ROWS, 81), np.uint8)
    # Row 4 carries no concept at all, row 5 one that is not among the 21.
    for row, concept in enumerate(("sky", "person", "sky", "zebra")):
        labels[row, CONCEPTS.index(concept) if concept in CONCEPTS else CONCEPTS.index("beach")] = 1
    labels[1, CONCEPTS.index("sky")] = 1
    labels[5, CONCEPTS.index("other7")] = 1
    write_labels(tmp_path, labels)
    (tmp_path / "ImageList").mkdir()
    names = [f"actor\\000{row}_21244.jpg" for row in range(NUM_ROWS)]
    # Backslashes and Windows line ends, as published.
    (tmp_path / "ImageList/Imagelist.txt").write_bytes("".join(f"{name}\r\n" for name in names).encode())
    for row in range(NUM_ROWS):
        write_image(tmp_path / f"Flickr/actor/000{row}_21244.jpg", 10 * row)
    return tmp_path


def load(root, source="nuswide21", **changes):
    return load_dataset(source, str(root), **{"image_size": 4, "max_skipped": 0.5} | changes)


def refused(root, *words, source="nuswide21"):
    with pytest.raises(UserError) as caught:
        load(root, source)
    assert all(word in str(caught.value) for word in words), caught.value


def test_21_concepts(root):
    out = load(root)
    assert out.name == "nuswide21" and out.classes == CONCEPTS_21
    assert out.paths == tuple(f"actor/000{row}_21244.jpg" for row in range(4))
    assert out.inputs[:, 0, 0, 0].tolist() == [0, 10, 20, 30]
    column = {name: number for number, name in enumerate(CONCEPTS_21)}
    expected = np.zeros((4, 21), np.uint8)
    expected[[0, 1, 1, 2, 3], [column[name] for name in ("sky", "sky", "person", "sky", "beach")]] = 1
    np.testing.assert_array_equal(out.labels, expected)


def test_81_concepts(root):
    out = load(root, "nuswide81")
    assert out.classes == tuple(CONCEPTS) and out.labels.shape == (5, 81)
    assert out.paths[-1] == "actor/0005_21244.jpg" and out.labels[-1, CONCEPTS.index("other7")] == 1


def test_image_that_flickr_has_lost(root):
    (root / "Flickr/actor/0001_21244.jpg").unlink()
    out = load(root)
    assert out.labels.shape == (3, 21) and out.skipped == (("actor/0001_21244.jpg", "no such file"),)


def test_damaged_label_files(root):
    folder = root / "Groundtruth/AllLabels"
    good = (folder / "Labels_sky.txt").read_text()
    (folder / "Labels_sky.txt").write_text(good[:-4])
    refused(root, "Labels_sky.txt", "4 lines", "Imagelist.txt has 6")
    (folder / "Labels_sky.txt").write_text("0\n1\n2\n0\n0\n0\n")
    refused(root, "Labels_sky.txt", "line 3", "'2'")
    (folder / "Labels_sky.txt").unlink()
    refused(root, "Labels_sky.txt", "no such file")
    refused(root, "80 files", "81", source="nuswide81")


def test_damaged_image_list(root):
    path = root / "ImageList/Imagelist.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[0]]))
    refused(root, "Imagelist.txt", "actor/0000_21244.jpg", "line 1", "line 6")
    path.write_text("\n".join([*lines[:5], "../../secret.jpg"]))
    refused(root, "line 6", "secret.jpg", "inside")
    path.write_text("\n".join([*lines[:2], "", *lines[3:]]))
    refused(root, "line 3")
    path.unlink()
    refused(root, "Imagelist.txt", "no such file")
    refused("", "data.path")


def test_all_rows_without_label(root):
    write_labels(root, np.zeros((NUM_ROWS, 81), np.uint8))
    refused(root, "no image is left")


@pytest.fixture
def official(shared_data):
    """The official label matrix uint8 [269648, 81] and the names of its columns."""
    with np.load(shared_data / "nuswide_labels.npz", allow_pickle=False) as arrays:
        assert tuple(arrays["tc21_class_names"]) == CONCEPTS_21
        return arrays["labels81_all"], arrays["class_names81"].tolist()


def test_official_matrix_through_its_files(official, tmp_path):
    labels, names = official
    columns = [names.index(concept) for concept in CONCEPTS_21]
    write_labels(tmp_path, labels[:, columns[:4]], CONCEPTS_21[:4])
    read = read_labels(tmp_path, len(labels), CONCEPTS_21[:4])
    assert read.shape == (269_648, 4)
    np.testing.assert_array_equal(read, labels[:, columns[:4]])


def test_published_list_of_21_concepts(shared_data, monkeypatch, official):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("nuswide_labels")
    assert out.inputs is None and out.labels.shape == (195_834, 21) and out.classes == CONCEPTS_21
    split = make_split(out, "N-21-list", PROTOCOLS["N-21-list"], 0)
    assert (len(split.query), len(split.train), len(split.database)) == (2_100, 10_500, 193_734)
    assert set(split.train.tolist()) <= set(split.database.tolist())
    with np.load(shared_data / "nuswide_labels.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(out.labels[split.query], arrays["labels_tc21_test"])
        np.testing.assert_array_equal(out.labels[split.train], arrays["labels_tc21_train"])
        np.testing.assert_array_equal(out.labels[split.database], arrays["labels_tc21_database_unordered"])
    # The same images as those of the official matrix that carry one of the 21 concepts.
    labels, names = official
    labels = labels[:, [names.index(concept) for concept in CONCEPTS_21]]
    count = lambda rows: np.unique(np.packbits(rows, axis=1), axis=0, return_counts=True)
    for found, expected in zip(count(out.labels), count(labels[labels.any(axis=1)])):
        np.testing.assert_array_equal(found, expected)


def test_drawn_protocol_on_the_official_labels(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("nuswide_labels")
    split = make_split(out, "N-21", PROTOCOLS["N-21"], 0)
    assert (len(split.query), len(split.train), len(split.database)) == (2_100, 10_500, 193_734)
    assert not set(split.query.tolist()) & set(split.database.tolist())
    # Each concept was drawn for that often; many images carry more than one.
    assert out.labels[split.query].sum(axis=0).min() >= 100 and out.labels[split.train].sum(axis=0).min() >= 500
