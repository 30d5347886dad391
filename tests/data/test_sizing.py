"""Sizes of a run on one's own data: they fit any number of rows, and folders are counted without opening a file."""

import pytest

from drlhash_jax.data import sizing
from drlhash_jax.errors import UserError

EFFORTS = {"features": sizing.FEATURES, "scratch": sizing.SCRATCH, "published": sizing.PUBLISHED}


@pytest.mark.parametrize("effort", EFFORTS.values(), ids=EFFORTS)
@pytest.mark.parametrize("num_classes", [2, 10, 81, 1_000])
@pytest.mark.parametrize("num_rows", [20, 21, 40, 350, 1_797, 60_000, 1_000_000])
def test_sizes_fit_the_data(num_rows, num_classes, effort):
    sizes = sizing.choose_sizes(num_rows, num_classes, effort)
    # The share of files that may be broken is left for the database.
    assert sizes.query + sizes.train <= 0.75 * num_rows
    assert 4 <= sizes.query <= 1_000
    assert 0 < sizes.reward_queries < sizes.train
    assert 2 <= sizes.num_folds <= sizes.train // 2
    assert sizes.batch_size in (8, 16, 32, 64, 128) and sizes.batch_size <= effort.batch_size
    assert effort.epochs[0] <= sizes.num_epochs <= effort.epochs[1]


@pytest.mark.parametrize(
    "num_rows, num_classes, effort, expected",
    [
        # The sizes that configs/cifar10.py was tuned to, but for the protocol.
        (60_000, 10, sizing.SCRATCH, sizing.Sizes(1_000, 5_000, 1_000, 2, 64, 30)),
        (60_000, 10, sizing.FEATURES, sizing.Sizes(1_000, 20_000, 1_000, 5, 128, 10)),
        (350, 80, sizing.PUBLISHED, sizing.Sizes(70, 175, 43, 2, 16, 8)),
        (40, 2, sizing.SCRATCH, sizing.Sizes(8, 20, 5, 5, 8, 40)),
        # 20 training rows per class come before the effort.
        (100_000, 1_000, sizing.SCRATCH, sizing.Sizes(1_000, 20_000, 1_000, 2, 64, 10)),
    ],
)
def test_sizes(num_rows, num_classes, effort, expected):
    assert sizing.choose_sizes(num_rows, num_classes, effort) == expected


def test_too_few_rows():
    with pytest.raises(UserError, match="^19 rows are too few .* at least 20$"):
        sizing.choose_sizes(19, 2, sizing.FEATURES)


def test_images_are_counted_by_name(tmp_path):
    for path in (
        "b/1.jpg",
        "b/inner/2.PNG",
        "b/notes.txt",
        "b/.hidden.jpg",
        "a/3.webp",
        ".cache/4.jpg",
        "5.jpg",
        "c/x",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert sizing.count_images(str(tmp_path)) == [1, 2, 0]
    with pytest.raises(UserError, match="has no sub-folders"):
        sizing.count_images(str(tmp_path / "a"))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        sizing.count_images(str(tmp_path / "nowhere"))


def test_addresses_of_features_and_labels():
    assert sizing.split_addresses("x.npy,y.npz:labels") == ("x.npy", "y.npz:labels")
    assert sizing.split_addresses("all.npz") == ("all.npz:features", "all.npz:labels")
    for wrong in ("x.npy", "x.npy,", "x.npy,y.npy,z.npy", "all.npz:x"):
        with pytest.raises(UserError, match="give the features and the labels"):
            sizing.split_addresses(wrong)
