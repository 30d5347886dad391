"""Datasets as loaded, and messages that name what is wrong with yours."""

import re

import numpy as np
import pytest

from drlhash_jax.data import Dataset, load_dataset
from drlhash_jax.data.dataset import check_dataset
from drlhash_jax.errors import UserError

# Sources that read the shared benchmark files.
SHARED = ("cifar10", "cifar10_features", "coco_labels", "coco_mini", "coco_mini_features", "nuswide_labels")
LABELS = np.array([0, 1, 0, 1])
FEATURES = np.arange(12, dtype=np.float64).reshape(4, 3)
MULTI_HOT = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])


def refused(dataset, *parts):
    """The message of the refusal, which must hold all the parts."""
    with pytest.raises(UserError) as caught:
        check_dataset(dataset)
    for part in parts:
        assert part in str(caught.value)


def test_digits():
    name, inputs, labels, lists = load_dataset("digits")[:4]
    assert name == "digits" and lists == {}
    assert inputs.shape == (1797, 8, 8, 1) and inputs.dtype == np.uint8
    assert labels.shape == (1797,) and labels.dtype == np.int32
    assert sorted(set(labels.tolist())) == list(range(10))
    # 17 grey levels, the darkest 0 and the brightest 255; row 0 shows a zero whose corner is blank.
    assert len(np.unique(inputs)) == 17 and inputs.min() == 0 and inputs.max() == 255
    assert labels[0] == 0 and inputs[0, 0, 0, 0] == 0


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8, np.uint32, bool])
def test_integer_labels_are_brought_to_int32(dtype):
    out = check_dataset(Dataset("mine", FEATURES, LABELS.astype(dtype)))
    assert out.labels.dtype == np.int32 and out.labels.tolist() == [0, 1, 0, 1]
    assert out.inputs.dtype == np.float32
    np.testing.assert_array_equal(out.inputs, FEATURES)


@pytest.mark.parametrize("large", [2**31, 2**32, 2**40 + 1])
def test_labels_beyond_int32_are_not_wrapped(large):
    # 2^32 would become class 0 and 2^31 a negative number, which means "no label".
    out = check_dataset(Dataset("mine", FEATURES, np.array([0, large, 1, large], np.int64)))
    assert out.labels.dtype == np.int32 and out.labels.tolist() == [0, 2, 1, 2]
    assert out.classes == ("0", "1", str(large))


def test_class_numbers_that_differ_by_multiples_of_two_to_the_32():
    out = check_dataset(Dataset("mine", FEATURES, np.array([5, 2**32 + 5, 2 * 2**32 + 5, -7 * 2**32 + 5])))
    assert out.labels.tolist() == [0, 1, 2, -1]
    out = check_dataset(Dataset("mine", FEATURES, np.array([2**64 - 1, 2**63, 0, 0], np.uint64)))
    assert out.labels.tolist() == [2, 1, 0, 0]


def test_numbers_of_named_classes_stay():
    named = Dataset("mine", FEATURES, np.array([0, 2, 2, -3]), classes=("ant", "bee", "cat"))
    out = check_dataset(named)
    assert out.labels.tolist() == [0, 2, 2, -1] and out.classes == named.classes


def test_unlabelled_rows_are_allowed():
    out = check_dataset(Dataset("mine", FEATURES, np.array([-1, 1, 0, -1])))
    assert out.labels.tolist() == [-1, 1, 0, -1]


def test_multi_hot_labels():
    for dtype in (np.int64, bool):
        out = check_dataset(Dataset("mine", FEATURES, MULTI_HOT.astype(dtype)))
        assert out.labels.dtype == np.uint8
        np.testing.assert_array_equal(out.labels, MULTI_HOT)


def test_images_stay_bytes():
    images = np.zeros((4, 5, 6, 3), np.uint8)
    out = check_dataset(Dataset("mine", images, LABELS))
    assert out.inputs is images


def test_labels_alone():
    out = check_dataset(Dataset("mine", None, LABELS))
    assert out.inputs is None and out.labels.dtype == np.int32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_row_of_a_bad_number_is_named(bad):
    features = FEATURES.copy()
    features[2, 1] = bad
    refused(Dataset("mine", features, LABELS), "mine", "1 row", "NaN", "row 2")
    features[3, 0] = bad
    refused(Dataset("mine", features, LABELS), "2 rows", "row 2")


def test_messages_name_the_flags_and_files(tmp_path):
    flags = "--config.data.path=x.npy", "--config.data.labels_path=y.npy"
    refused(Dataset("x", FEATURES, LABELS[:3]), "x: 4 rows", "3 rows of labels: give")
    with pytest.raises(UserError, match=f"{flags[0]}: 4 rows of inputs, but 3 rows of labels in {flags[1]}"):
        check_dataset(Dataset("x", FEATURES, LABELS[:3]), *flags)
    with pytest.raises(UserError, match=f"{flags[0]}: NaN or infinity in the features of 4 rows"):
        check_dataset(Dataset("x", FEATURES * np.nan, LABELS), *flags)
    for labels in (LABELS * 0, LABELS * 0.5, MULTI_HOT * 2):
        with pytest.raises(UserError, match=f"{flags[1]}: "):
            check_dataset(Dataset("x", FEATURES, labels), *flags)
    features, labels = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(features, FEATURES * np.nan)
    np.save(labels, LABELS)
    with pytest.raises(UserError, match=f"--config.data.path={features}: NaN or infinity in the features of 4 rows"):
        load_dataset("embeddings", str(features), labels_path=str(labels))
    np.save(labels, LABELS[:3])
    with pytest.raises(UserError, match=f"{features}: 4 rows.*3 rows of labels in --config.data.labels_path={labels}"):
        load_dataset("embeddings", str(features), labels_path=str(labels))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_types_of_features(dtype):
    features = FEATURES.astype(dtype)
    out = check_dataset(Dataset("mine", features, LABELS))
    if dtype in (np.float16, np.float32):
        assert out.inputs is features
    else:
        assert out.inputs.dtype == np.float32 and out.inputs.tolist() == FEATURES.tolist()


def test_numbers_beyond_float32_are_named(recwarn):
    features = FEATURES.copy()
    features[1, 1] = 1e300
    refused(Dataset("mine", features, LABELS), "1 row", "row 1")
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(4, 0), (4, 0, 5, 3), (4, 5, 5, 0)])
def test_rows_without_values_are_refused(shape):
    inputs = np.zeros(shape, np.float32 if len(shape) == 2 else np.uint8)
    refused(Dataset("mine", inputs, LABELS), "mine", str(shape), "no value per row")


@pytest.mark.parametrize(
    ("source", "field", "value", "words"),
    [
        ("digit", "path", "", ["--config.data.source=digit", "did you mean digits?"]),
        ("digits", "image_size", 0, ["--config.data.image_size=0", "from 1"]),
        ("digits", "cache", "pixels.bin", ["--config.data.cache=pixels.bin", ".npy"]),
        ("digits", "max_skipped", float("nan"), ["--config.data.max_skipped=nan"]),
        ("digits", "allow_empty_class", 1, ["--config.data.allow_empty_class=1", "bool"]),
    ],
)
def test_wrong_settings(source, field, value, words):
    with pytest.raises(UserError) as caught:
        load_dataset(source, **{field: value})
    assert all(word in str(caught.value) for word in words), caught.value


def test_row_counts_must_match():
    refused(Dataset("mine", FEATURES, LABELS[:3]), "mine", "4 rows of inputs", "3 rows of labels")


@pytest.mark.parametrize(
    "labels", [np.zeros(4, int), np.array([3, -1, 3, -1]), np.array([[1, 0]] * 4), np.zeros((4, 2), int)]
)
def test_one_class_is_too_few(labels):
    refused(Dataset("mine", FEATURES, labels), "mine", "class", "at least 2")


@pytest.mark.parametrize(
    "labels",
    [LABELS.astype(float), LABELS.astype(str), MULTI_HOT.astype(float), MULTI_HOT[None], np.array(1)],
)
def test_other_labels_are_refused(labels):
    refused(Dataset("mine", FEATURES, labels), "mine", "labels are", str(labels.dtype), str(labels.shape))


def test_class_numbers_in_a_column():
    refused(Dataset("mine", FEATURES, np.array([[0], [1], [2], [1]])), "mine", "one axis [N]")


@pytest.mark.parametrize("value", [2, -1])
def test_multi_hot_holds_zeros_and_ones(value):
    labels = MULTI_HOT.copy()
    labels[1, 1] = value
    refused(Dataset("mine", FEATURES, labels), "mine", "multi-hot", "0 and 1")


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 3), np.uint8),
        np.zeros((4, 5, 5, 3), np.float32),
        np.zeros(4, np.float32),
        np.zeros((4, 3), complex),
        np.array([["a"]] * 4),
    ],
)
def test_other_inputs_are_refused(inputs):
    refused(Dataset("mine", inputs, LABELS), "mine", "inputs are", str(inputs.dtype), str(inputs.shape), "features")


def test_inputs_without_rows_are_refused():
    refused(Dataset("mine", np.array(3.0), LABELS), "mine")


def test_own_arrays(tmp_path):
    for key, inputs in (("features", FEATURES), ("images", np.zeros((4, 2, 2, 1), np.uint8))):
        path = tmp_path / f"{key}_of_mine.npz"
        np.savez(path, labels=LABELS, **{key: inputs})
        out = load_dataset("arrays", str(path))
        assert out.name == f"{key}_of_mine"
        np.testing.assert_array_equal(out.inputs, inputs)
        np.testing.assert_array_equal(out.labels, LABELS)


def arrays_refused(path, *parts):
    with pytest.raises(UserError) as caught:
        load_dataset("arrays", str(path))
    for part in parts:
        assert part in str(caught.value)


def test_own_arrays_need_a_path():
    arrays_refused("", "data.path")


def test_own_arrays_are_missing(tmp_path):
    arrays_refused(tmp_path / "nothing.npz", "nothing.npz")


def test_own_arrays_lack_a_key(tmp_path):
    path = tmp_path / "mine.npz"
    for arrays in ({"x": FEATURES, "labels": LABELS}, {"features": FEATURES, "y": LABELS}):
        np.savez(path, **arrays)
        arrays_refused(path, "mine.npz", "labels", "features", next(iter(arrays.keys() - {"features", "labels"})))


@pytest.mark.parametrize("content", [b"hello, this is text", b"PK\x03\x04 cut short", b""])
def test_own_arrays_are_not_an_npz(content, tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    arrays_refused(path, "mine.npz", "npz")


def test_own_arrays_are_one_npy(tmp_path):
    np.save(tmp_path / "mine.npy", FEATURES)
    arrays_refused(tmp_path / "mine.npy", "mine.npy", "npz")


def test_own_arrays_are_a_folder(tmp_path):
    arrays_refused(tmp_path, tmp_path.name)


def test_own_arrays_are_never_unpickled(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, labels=LABELS, features=np.array([{}] * 4, object), allow_pickle=True)
    arrays_refused(path, "mine.npz")


def test_own_arrays_are_checked(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, labels=LABELS[:2], features=FEATURES)
    arrays_refused(path, "mine", "4 rows of inputs")


@pytest.mark.parametrize("source", SHARED)
def test_missing_benchmark_files(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="DRLHASH_DATA") as caught:
        load_dataset(source)
    assert re.search(r"nowhere/\w+\.npz not found", str(caught.value))


def test_coco_labels(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("coco_labels")
    assert out.inputs is None and out.labels.shape == (122_218, 80) and out.labels.dtype == np.uint8
    assert [len(rows) for rows in out.lists["CO"]] == [5_000, 10_000, 117_218]


def test_coco_mini_features(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("coco_mini_features")
    assert out.inputs.shape == (350, 1280) and out.inputs.dtype == np.float32
    assert out.labels.shape == (350, 80) and out.labels.dtype == np.uint8


def test_cifar10_features(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    out = load_dataset("cifar10_features")
    assert out.inputs.shape == (60_000, 256) and out.inputs.dtype == np.float32
    assert np.bincount(out.labels).tolist() == [6_000] * 10
