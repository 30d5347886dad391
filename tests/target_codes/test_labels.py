"""Tests of label sets: which rows share one, and which rows have no label."""

import numpy as np
import pytest

from drlhash_jax.codes import count_unlabelled
from drlhash_jax.target_codes import find_label_sets, to_multi_hot


def assert_sets_reproduce(label_sets, multi_hot):
    """The set of every row is its label row, but for the columns of classes that do not occur."""
    occurring = lambda x: x[:, x.any(axis=0)]
    rows = label_sets.sets[label_sets.members]
    np.testing.assert_array_equal(occurring(rows), occurring(multi_hot))
    assert len({tuple(row) for row in label_sets.sets.tolist()}) == len(label_sets.sets)
    assert set(label_sets.members.tolist()) == set(range(len(label_sets.sets)))


def test_integer_labels():
    label_sets = find_label_sets(np.array([4, 0, 4, 2]))
    assert len(label_sets.sets) == 3
    assert label_sets.disjoint
    assert label_sets.members[0] == label_sets.members[2]
    assert_sets_reproduce(label_sets, np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 0]]))


def test_negative_labels_share_one_empty_set():
    labels = np.array([1, -1, 0, -7, 1])
    label_sets = find_label_sets(labels)
    assert label_sets.disjoint
    assert len(label_sets.sets) == 3
    assert_sets_reproduce(label_sets, np.array([[0, 1], [0, 0], [1, 0], [0, 0], [0, 1]]))
    assert count_unlabelled(labels) == 2


def test_only_negative_labels():
    labels = np.array([-1, -2, -1])
    label_sets = find_label_sets(labels)
    assert label_sets.sets.shape[0] == 1
    assert not label_sets.sets.any()
    np.testing.assert_array_equal(label_sets.members, [0, 0, 0])
    assert label_sets.disjoint
    assert count_unlabelled(labels) == 3
    assert not to_multi_hot(labels).any()


def test_multi_hot_labels():
    labels = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]])
    label_sets = find_label_sets(labels)
    assert len(label_sets.sets) == 3
    assert not label_sets.disjoint  # label 1 is in two sets
    assert_sets_reproduce(label_sets, labels)
    assert count_unlabelled(labels) == 1


@pytest.mark.parametrize(
    "rows, disjoint",
    [
        ([[1, 0], [0, 1], [1, 0]], True),  # one label a row
        ([[1, 1, 0], [0, 0, 1], [0, 0, 0]], True),  # sets of several labels, none shared
        ([[1, 1, 0], [0, 1, 0]], False),
        ([[0, 0], [0, 0]], True),
    ],
)
def test_disjoint(rows, disjoint):
    assert find_label_sets(np.array(rows)).disjoint is disjoint


@pytest.mark.parametrize("num_classes", [1, 7, 8, 9, 80])
def test_random_multi_hot_rows(num_classes):
    # Around multiples of 8 the packed bytes that rows are compared by get their last bit or a new byte.
    rng = np.random.default_rng(num_classes)
    labels = (rng.random((60, num_classes)) < 1.5 / num_classes).astype(np.uint8)
    labels[0] = 0
    labels[1], labels[2] = 0, 0
    labels[1, -1] = 1
    label_sets = find_label_sets(labels)
    assert len(label_sets.sets) == len({tuple(row) for row in labels.tolist()})
    assert_sets_reproduce(label_sets, labels)
    columns = sum(np.array(row) for row in {tuple(row) for row in labels.tolist()})
    assert label_sets.disjoint == bool((columns <= 1).all())


def test_integer_and_one_hot_rows_make_the_same_partition():
    labels = np.random.default_rng(0).integers(-1, 6, 50)
    one_hot = np.array([[label == c for c in range(6)] for label in labels]).astype(np.uint8)
    integer, hot = find_label_sets(labels), find_label_sets(one_hot)
    same = lambda members: members[:, None] == members[None, :]
    np.testing.assert_array_equal(same(integer.members), same(hot.members))
    assert integer.disjoint and hot.disjoint
    assert count_unlabelled(labels) == count_unlabelled(one_hot) == sum(labels < 0)


def test_types():
    for labels in (np.array([0, 1, -1]), np.array([[1, 0], [0, 0], [1, 1]])):
        label_sets = find_label_sets(labels)
        assert label_sets.members.dtype == np.int32 and label_sets.members.shape == (3,)
        assert label_sets.sets.dtype == np.float32 and isinstance(label_sets.disjoint, bool)
        assert to_multi_hot(labels).dtype == np.uint8


def test_to_multi_hot():
    np.testing.assert_array_equal(to_multi_hot(np.array([2, -1, 0])), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(to_multi_hot(np.array([[2, 0], [0, 0], [1, 1]])), [[1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(to_multi_hot(np.array([[0.5, 0.0], [False, True]])), [[1, 0], [0, 1]])


def test_count_unlabelled():
    assert count_unlabelled(np.array([0, 3, 1])) == 0
    assert count_unlabelled(np.array([-1, 3, -5])) == 2
    assert count_unlabelled(np.array([[0, 0], [0, 1], [0, 0]])) == 2
    assert count_unlabelled(np.array([[1, 0]])) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int64])
def test_any_integer_type(dtype):
    # Label files hold bytes as a rule; numbers without a sign have no -1 to be compared with.
    labels = np.array([2, 0, 2], dtype)
    label_sets = find_label_sets(labels)
    assert_sets_reproduce(label_sets, np.array([[0, 0, 1], [1, 0, 0], [0, 0, 1]]))
    np.testing.assert_array_equal(to_multi_hot(labels), [[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert count_unlabelled(labels) == 0
