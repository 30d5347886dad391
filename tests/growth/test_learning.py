"""What growing learns: codes by an exhaustive search, the loss by loops, and layers that an old model can give."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import FEATURES, IMAGES, PHOTOS, save_model

from drlhash_jax.config import load
from drlhash_jax.encoders import make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.growth.codes import Problem, class_ratio, descend, learn_codes, move_codes
from drlhash_jax.growth.grow import find_start
from drlhash_jax.growth.labels import Labels, join_labels, number_labels
from drlhash_jax.growth.network import incremental_loss, trunk, wanted_of
from drlhash_jax.methods.dihn import DIHNSettings
from drlhash_jax.runs import read_model
from drlhash_jax.training import Batch

SETTINGS = DIHNSettings(gamma=3.0, balance_weight=2.0)


def drawn_rows(num_rows, num_bits, seed=0):
    """Multi-hot labels of one or two of four classes, and codes {0, 1}."""
    rng = np.random.default_rng(seed)
    labels = (
        np.eye(4, dtype=np.uint8)[rng.integers(0, 4, num_rows)]
        | np.eye(4, dtype=np.uint8)[rng.integers(0, 4, num_rows)]
    )
    return labels, rng.integers(0, 2, (num_rows, num_bits)).astype(np.uint8)


def soft_similarity(labels):
    similar = labels.astype(int) @ labels.T > 0
    ratio = similar.mean() / (1 - similar.mean())
    return np.where(similar, 1.0, -ratio)


@pytest.mark.parametrize("seed", range(3))
def test_no_bit_of_a_new_code_can_be_bettered(seed):
    """Each bit of each label set's code is the better one of two, in the objective written out over rows."""
    rng = np.random.default_rng(seed)
    labels, codes = drawn_rows(30, 5, seed)
    old, outputs = np.arange(30) < 20, rng.uniform(-1, 1, (10, 5))
    kept = codes[old].copy()
    new = learn_codes(codes[old], labels[old], labels[~old], outputs, 3.0).new
    np.testing.assert_array_equal(codes[old], kept)
    soft, signs = soft_similarity(labels), 2.0 * np.concatenate([codes[old], new]) - 1.0

    def objective(signs, rows):
        """Terms of some rows with all others; those with one another are the same for every code."""
        others = ~np.isin(np.arange(30), rows)
        fit = ((signs[rows] @ signs[others].T - 5 * soft[rows][:, others]) ** 2).sum()
        return fit + 3.0 * ((signs[rows] - outputs[rows - 20].mean(axis=0)) ** 2).sum()

    for row in range(20, 30):
        rows = 20 + np.flatnonzero((labels[20:] == labels[row]).all(axis=1))
        assert (signs[rows] == signs[row]).all()
        for bit in range(5):
            flipped = signs.copy()
            flipped[rows, bit] *= -1
            assert objective(signs, rows) <= objective(flipped, rows) + 1e-6


def test_no_round_raises_the_objective(monkeypatch):
    """The objective of all pairs with a new row, each counted once, after ever more rounds."""
    labels, codes = drawn_rows(60, 6, 5)
    old, outputs = np.arange(60) < 20, np.random.default_rng(5).uniform(-1, 1, (40, 6))
    soft, values = soft_similarity(labels), []
    counted = np.triu(np.ones((60, 60)), 1) * ~old
    for rounds in range(6):
        monkeypatch.setattr("drlhash_jax.growth.codes._MOST_ROUNDS", rounds)
        new = learn_codes(codes[old], labels[old], labels[~old], outputs, 3.0).new
        signs = 2.0 * np.concatenate([codes[old], new]) - 1.0
        own = 3.0 * ((signs[~old] - outputs) ** 2).sum()
        values.append((counted * (signs @ signs.T - 6 * soft) ** 2).sum() + own)
    assert values[0] > values[1] and (np.diff(values) <= 1e-6).all()


def test_a_class_gets_a_code_far_from_the_others():
    codes = np.array(list(itertools.product((0, 1), repeat=4)), np.uint8)[[0, 3]].repeat(5, axis=0)
    labels = np.eye(3, dtype=np.uint8)
    new = learn_codes(codes, labels[[0, 1]].repeat(5, axis=0), labels[[2, 2]], np.zeros((2, 4)), 0.0).new
    np.testing.assert_array_equal(new[0], new[1])
    assert (new[0] != codes).sum(axis=1).min() >= 2


def written_out(codes, counts, soft, num_bits):
    """Sum of (b_i . b_j - K S_ij)^2 over all pairs of rows of two groups, in loops."""
    total = 0.0
    for (g, own), (h, other) in itertools.product(enumerate(counts), repeat=2):
        for (s, count), (t, times) in itertools.product(enumerate(own), enumerate(other)):
            total += (g != h) * count * times * (codes[g] @ codes[h] - num_bits * soft[s, t]) ** 2
    return total


@pytest.mark.parametrize("changes", (0, 1, 3))
def test_groups_change_no_more_than_they_may(changes):
    """The objective never rises, and no single change that is allowed lowers it further."""
    rng = np.random.default_rng(changes)
    counts, kept = rng.integers(0, 4, (6, 3)).astype(float) + 0.5, np.sign(rng.normal(size=(6, 5)))
    kept[:, 4], kept[5] = 0, 0
    soft = np.where(np.eye(3) > 0, 1.0, -0.5)
    problem = Problem(soft, counts, np.zeros((6, 5)), kept, np.full(6, changes))
    codes = descend(problem, np.zeros((3, 5)), np.zeros((5, 5)))
    assert set(codes.ravel()) == {-1, 1}
    assert ((kept * codes < 0).sum(axis=1) <= changes).all()
    least = written_out(codes, counts, soft, 5)
    for group, bit in itertools.product(range(6), range(5)):
        flipped = codes.copy()
        flipped[group, bit] *= -1
        if ((kept * flipped < 0).sum(axis=1) <= changes).all():
            assert least <= written_out(flipped, counts, soft, 5) + 1e-6
    if not changes:
        begun = np.where(kept == 0, codes, kept)
        np.testing.assert_array_equal(codes, begun)


def test_rows_without_labels_move_as_the_nearest_known_code():
    before = np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.uint8)
    after = np.array([[0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 0, 1]], np.uint8)
    rows = np.array([[0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]], np.uint8)
    moved = np.unpackbits(move_codes(np.packbits(rows, axis=1), before, after), axis=1, count=6)
    np.testing.assert_array_equal(moved, [[0, 1, 0, 0, 1, 0], [1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0]])


def test_the_loss_is_that_of_dihn():
    labels, codes = drawn_rows(12, 4)
    wanted = jax.tree.map(jnp.asarray, wanted_of(labels, codes))
    rng = np.random.default_rng(1)
    logits, rows = rng.normal(size=(5, 4)).astype(np.float32), np.array([3, 0, 7, 11, 2])
    weights = np.array([1, 1, 1, 1, 0], np.float32)
    batch = Batch(None, labels[rows], rows, jnp.asarray(weights))
    found = incremental_loss(jnp.asarray(logits), batch, wanted, None, settings=SETTINGS)
    u, signs, soft = np.tanh(logits)[:4], 2.0 * codes - 1.0, soft_similarity(labels)[rows[:4]]
    per_row = ((u @ signs.T - 4 * soft) ** 2).sum(axis=1) + 3.0 * ((signs[rows[:4]] - u) ** 2).sum(axis=1)
    balance = 2.0 * (u.sum(axis=0) ** 2).sum() / 4
    assert float(found) == pytest.approx((per_row.mean() + balance) / 12, rel=1e-4)


def test_ratio_counts_pairs():
    labels, _ = drawn_rows(40, 2)
    sets, counts = np.unique(labels, axis=0, return_counts=True)
    similar = labels.astype(int) @ labels.T > 0
    assert class_ratio(counts, sets.astype(int) @ sets.T > 0) == pytest.approx(similar.mean() / (~similar).mean())


STARTS = {
    "hashnet": (FEATURES, True, True),
    "csq": (IMAGES, True, True),
    "erh": (FEATURES, True, False),
    "itq": (FEATURES, False, False),
    "greedyhash": (PHOTOS, True, True),
}


@pytest.mark.parametrize("name", STARTS)
def test_what_an_old_model_gives(name, tmp_path):
    spec, has_trunk, has_head = STARTS[name]
    save_model(tmp_path, name, spec)
    record = read_model(tmp_path)
    settings = load(record.config).encoder
    encoder, bits = make_encoder(settings.name, 3, **settings.attributes), np.array([4, 0, 5])
    start = find_start(record, encoder, bits)
    assert (start.has_trunk, "head" in start.params) == (has_trunk, has_head)
    if has_head:
        shape = (2, 8) if spec is FEATURES else (2, 8, 8, len(spec.mean))
        x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
        logits = encoder.apply({"params": start.params}, x)
        whole = encoder.clone(num_outputs=6).apply({"params": record.params}, x)
        np.testing.assert_allclose(logits, whole[:, bits], rtol=1e-5, atol=1e-6)
        head = start.params["head"]
        below = {layer: values for layer, values in start.params.items() if layer != "head"}
        features = np.asarray(trunk(encoder)(below, x))
        np.testing.assert_allclose(features @ head["kernel"] + head["bias"], logits, rtol=1e-4, atol=1e-5)


def test_classes_keep_their_places():
    known = number_labels(np.array([0, 2, 1]))
    joined = join_labels(known, np.array([7, 1, 9, 7]), (), "--labels")
    assert joined.classes == ("0", "1", "2", "7", "9") and joined.rows.argmax(axis=1).tolist() == [3, 1, 4, 3]
    named = join_labels(number_labels(np.array([0, 1]), ("sea", "sky")), np.array([0, 1]), ("ant", "sky"), "--images")
    assert named.classes == ("sea", "sky", "ant") and named.rows.argmax(axis=1).tolist() == [2, 1]


MISTAKES = {
    "several labels": (np.eye(3, dtype=np.uint8), (), "several labels a row"),
    "no label": (np.array([0, -1]), (), "row 1 has no label"),
    "words": (np.array([0, 1]), ("sea", "sky"), "classes sea, sky; those of the old rows are 0, 1, 2"),
}


@pytest.mark.parametrize(("labels", "classes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_labels_of_another_kind(labels, classes, words):
    with pytest.raises(UserError, match=words):
        join_labels(number_labels(np.arange(3)), labels, classes, "--labels")


def test_columns_of_several_labels():
    known = Labels(np.eye(2, dtype=np.uint8), ("0", "1"), False)
    assert join_labels(known, np.array([[0, 0, 1], [1, 0, 1]]), (), "--labels").classes == ("0", "1", "2")
    for labels, words in (
        ([[1]], "1 columns"),
        ([[1, 0, 0]], "no row has the new class of column 2"),
        ([[0, 0]], "row 0"),
    ):
        with pytest.raises(UserError, match=words):
            join_labels(known, np.array(labels), (), "--labels")
