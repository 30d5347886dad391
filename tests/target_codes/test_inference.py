"""Tests of stage 1 as a whole: codes near the floor, one a label set, the same on both paths."""

import jax
import numpy as np
import pytest
from trainings import infer_target_codes

from drlhash_jax.target_codes import PATHS, TargetCodeSettings, choose_path, find_label_sets

# (1 - 1/C) (1 - 1/(C - 1))^2 for C = 10 balanced classes; derived in test_similarity_loss.py.
FLOOR = 0.9 * (8 / 9) ** 2


def loss_of_codes(codes, similar):
    """The loss of Eq. 3.8 on binary codes, dense and in float64: mean over pairs of (<b_i, b_j> / K - s_ij)^2."""
    signs = 2.0 * codes - 1.0
    return np.mean((signs @ signs.T / codes.shape[1] - np.where(similar, 1.0, -1.0)) ** 2)


def share_class(labels):
    return labels[:, None] == labels[None, :]


def num_distinct(codes):
    return len(np.unique(codes, axis=0))


@pytest.mark.parametrize("num_bits", [32, 64])
def test_balanced_classes_reach_the_floor(num_bits):
    labels = np.arange(1000) % 10
    excess = []
    for seed in range(4):
        result = infer_target_codes(jax.random.key(seed), labels, num_bits, TargetCodeSettings())
        assert result.codes.shape == (1000, num_bits)
        assert result.codes.dtype == np.uint8
        assert set(np.unique(result.codes)) == {0, 1}
        loss = loss_of_codes(result.codes, share_class(labels))
        assert loss >= FLOOR - 1e-12
        excess.append(loss / FLOOR - 1)
        # Ten codes, one a class: neither a collapse (as of a sigmoid, which cannot reach -1) nor a code a row.
        assert num_distinct(result.codes) == 10
        assert all(num_distinct(result.codes[labels == c]) == 1 for c in range(10))
    # Measured at 32 bits: .010 to .020, mean .016 (12 seeds); at 64 bits .006 to .009.
    assert np.mean(excess) < 0.02
    assert max(excess) < 0.03


def test_loss_curve_falls_and_ends_at_the_loss_of_the_codes():
    labels = np.arange(300) % 5
    settings = TargetCodeSettings(num_epochs=400)
    result = infer_target_codes(jax.random.key(0), labels, 24, settings)
    assert result.loss.shape == (400,)
    assert result.loss.dtype == np.float32
    assert np.isfinite(result.loss).all()
    assert result.loss[-1] < 0.8 * result.loss[0]
    # At the end |Z| is nearly 1: the quantisation term is gone, and the similarity term is that of the codes.
    assert result.loss[-1] == pytest.approx(loss_of_codes(result.codes, share_class(labels)), rel=0.01)


def test_quantisation_weight_is_ramped_from_zero():
    # Two epochs have the weights 0 and 5: the first loss does not see the weight, the second one does.
    labels = np.arange(60) % 3
    curves = [
        infer_target_codes(
            jax.random.key(0), labels, 8, TargetCodeSettings(num_epochs=2, quantisation_weight=weight)
        ).loss
        for weight in (0.0, 5.0)
    ]
    assert curves[0][0] == pytest.approx(curves[1][0], rel=1e-6)
    assert curves[1][1] > curves[0][1] + 1.0  # 5 (|z| - 1)^2 with |z| still near 0


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_both_paths_give_codes_of_the_same_quality(kind):
    if kind == "single":
        labels = np.arange(203) % 7
        similar = share_class(labels)
    else:
        labels = (np.random.default_rng(0).random((12, 6)) < 0.3).astype(np.uint8)[np.arange(203) % 12]
        similar = labels.astype(int) @ labels.T.astype(int) > 0
    losses = []
    for path in ("exact", "blockwise"):
        settings = TargetCodeSettings(loss="similarity", num_epochs=300, path=path, block_height=64, block_width=50)
        result = infer_target_codes(jax.random.key(1), labels, 16, settings)
        assert result.path == path
        losses.append(loss_of_codes(result.codes, similar))
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_first_loss_is_the_same_on_both_paths():
    labels = np.random.default_rng(0).integers(-1, 5, 101)
    first = [
        infer_target_codes(
            jax.random.key(3), labels, 12, TargetCodeSettings(num_epochs=2, path=path, block_height=30, block_width=17)
        ).loss[0]
        for path in ("exact", "blockwise")
    ]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_multi_label_rows_with_equal_labels_get_nearly_equal_codes():
    # Four groups of labels, rows with one or two labels of their group, 60 rows of each set.
    sets = np.kron(np.eye(4, dtype=np.uint8), np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], np.uint8))
    labels = np.repeat(sets, 25, axis=0)
    settings = TargetCodeSettings(loss="similarity", num_epochs=400)
    result = infer_target_codes(jax.random.key(0), labels, 32, settings)
    distance = (result.codes[:, None] != result.codes[None]).mean(axis=2)
    number = np.repeat(np.arange(len(sets)), 25)
    similar = labels.astype(int) @ labels.T.astype(int) > 0
    assert distance[share_class(number)].mean() < 0.02
    # Every two sets of a group share a label, so a group is a class: distance 0 within, 4/3 * 1/2 = .67 between.
    assert distance[similar].mean() < 0.05
    assert distance[~similar].mean() == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.parametrize("num_classes, num_bits", [(2, 1), (3, 16), (20, 64)])
def test_one_code_a_class(num_classes, num_bits):
    labels = np.arange(12 * num_classes) % num_classes
    result = infer_target_codes(jax.random.key(0), labels, num_bits, TargetCodeSettings(num_epochs=400))
    assert num_distinct(result.codes) == num_classes


def test_unlabelled_rows_stay_away_from_the_classes():
    labels = np.concatenate([np.arange(200) % 4, np.full(20, -1)])
    result = infer_target_codes(jax.random.key(0), labels, 24, TargetCodeSettings(num_epochs=400))
    distance = (result.codes[200:, None] != result.codes[None, :200]).mean(axis=2)
    assert distance.mean() > 0.45
    assert num_distinct(result.codes[:200]) == 4


def test_same_key_same_result():
    labels = np.arange(90) % 9
    settings = TargetCodeSettings(num_epochs=60)
    runs = [infer_target_codes(jax.random.key(seed), labels, 12, settings) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(runs[0].codes, runs[1].codes)
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)
    assert (runs[0].codes != runs[2].codes).any()


def test_bits_are_signs():
    # Without a step the codes are the signs of the initial latent values: 0.1 times a normal draw.
    key = jax.random.key(4)
    settings = TargetCodeSettings(num_epochs=1, learning_rate=0.0)
    result = infer_target_codes(key, np.arange(10) % 2, 7, settings)
    np.testing.assert_array_equal(result.codes, np.asarray(jax.random.normal(key, (10, 7))) >= 0)


def test_choose_path():
    single = find_label_sets(np.arange(100) % 10)
    assert choose_path("auto", single) == "exact"
    # Disjoint sets cost nothing, even one a row.
    assert choose_path("auto", find_label_sets(np.arange(100))) == "exact"
    # Overlapping sets: exact up to G^2 <= n^2 / 3. With n = 12: 6 sets (3 * 36 <= 144), but not 7 (3 * 49 > 144).
    rows = np.array([[1, *map(int, f"{i:03b}")] for i in range(8)])
    assert choose_path("auto", find_label_sets(rows[np.arange(12) % 6])) == "exact"
    assert choose_path("auto", find_label_sets(rows[np.arange(12) % 7])) == "blockwise"
    for path in ("exact", "blockwise"):
        assert choose_path(path, single) == path
    assert set(PATHS) == {"auto", "exact", "blockwise"}


def test_auto_takes_the_chosen_path():
    settings = TargetCodeSettings(loss="similarity", num_epochs=1, block_height=5, block_width=5)
    rows = np.array([[1, *map(int, f"{i:03b}")] for i in range(8)])
    assert infer_target_codes(jax.random.key(0), rows, 4, settings).path == "blockwise"
    assert infer_target_codes(jax.random.key(0), np.arange(8), 4, settings).path == "exact"


def test_refuses_unknown_path():
    with pytest.raises(ValueError, match="path='fast'.*auto, exact, blockwise"):
        infer_target_codes(jax.random.key(0), np.arange(4), 4, TargetCodeSettings(path="fast"))
