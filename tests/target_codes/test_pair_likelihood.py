"""Tests of the likelihood of pairs: loops as its oracle, its random blocks, and what it is there for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trainings import infer_target_codes

from drlhash_jax.methods.csq import hash_centres, row_centres
from drlhash_jax.retrieval import mean_average_precision
from drlhash_jax.target_codes import (
    LOSSES,
    TargetCodeSettings,
    choose_loss,
    find_label_sets,
    likelihood_and_gradient,
    pair_likelihood_loss,
    start,
)


def value_and_gradients(rows, columns, similar):
    """Sum of L_i and its gradients in rows and columns, pair by pair in float64."""
    num_bits, total = rows.shape[1], 0.0
    of_rows, of_columns = np.zeros(rows.shape), np.zeros(columns.shape)
    for i in range(len(rows)):
        for wanted in (True, False):
            members = [j for j in range(len(columns)) if bool(similar[i, j]) == wanted]
            for j in members:
                theta = sum(rows[i, k] * columns[j, k] for k in range(num_bits)) / 2 - num_bits / 8
                miss = -theta if wanted else theta
                total += np.log(1 + np.exp(miss)) / len(members)
                # The derivative of softplus is the sigmoid.
                slope = (-1 if wanted else 1) / (1 + np.exp(-miss)) / len(members)
                of_rows[i] += slope * columns[j] / 2
                of_columns[j] += slope * rows[i] / 2
    return total, of_rows, of_columns


def some_codes(number, num_bits, seed):
    return np.tanh(np.random.default_rng(seed).normal(size=(number, num_bits))).astype(np.float32)


def test_golden():
    # K = 8: theta = 8 / 2 - 8 / 8 = 3 for equal codes, -5 for opposite ones, -1 for codes at distance 4.
    ones, half = np.ones((1, 8), np.float32), np.float32([[1, 1, 1, 1, -1, -1, -1, -1]])
    softplus = lambda x: np.log1p(np.exp(x))
    columns = np.concatenate([ones, -ones, half])
    for similar, expected in (
        ([1, 0, 0], softplus(-3) + (softplus(-5) + softplus(-1)) / 2),
        ([1, 1, 0], (softplus(-3) + softplus(5)) / 2 + softplus(-1)),
        ([0, 0, 0], (softplus(3) + softplus(-5) + softplus(-1)) / 3),
    ):
        value = pair_likelihood_loss(ones, columns, np.float32([similar]))
        np.testing.assert_allclose(value, [expected], rtol=1e-6)
    # At a distance of 3 K / 8 either is as likely.
    near = np.float32([[1, 1, 1, 1, 1, -1, -1, -1]])
    for similar in (0.0, 1.0):
        np.testing.assert_allclose(pair_likelihood_loss(ones, near, np.full((1, 1), similar)), np.log(2), rtol=1e-6)


def test_equals_loops():
    rows, columns = some_codes(7, 6, 0), some_codes(5, 6, 1)
    similar = (np.random.default_rng(2).random((7, 5)) < 0.4).astype(np.float32)
    similar[0], similar[1] = 0, 1
    loss = lambda rows, columns: jnp.sum(pair_likelihood_loss(rows, columns, similar))
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(rows, columns)
    expected, *expected_gradients = value_and_gradients(*(x.astype(np.float64) for x in (rows, columns)), similar)
    assert float(value) == pytest.approx(expected, rel=1e-6)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_a_block_is_what_random_rows_and_columns_give():
    labels = (np.random.default_rng(0).random((40, 6)) < 0.3).astype(np.uint8)
    labels[:5] = labels[5:10]
    settings = TargetCodeSettings(block_height=9, block_width=14, init_scale=1.0)
    v, _, data = start(jax.random.key(0), labels, 5, settings)
    assert v.shape == (len(np.unique(labels, axis=0)), 5)
    row_key, column_key = jax.random.split(jax.random.key(1))
    rows, columns = (np.asarray(jax.random.randint(k, (m,), 0, 40)) for k, m in ((row_key, 9), (column_key, 14)))
    similar = labels[rows].astype(int) @ labels[columns].T.astype(int) > 0
    members, weight = data.members, 0.3

    def loops(v):
        z = np.tanh(v)[members]
        likelihood, of_rows, of_columns = value_and_gradients(z[rows], z[columns], similar)
        off = np.abs(z[rows]) - 1
        of_z = np.zeros_like(v)
        np.add.at(of_z, members[rows], of_rows + weight * 2 * off * np.sign(z[rows]) / 5)
        np.add.at(of_z, members[columns], of_columns)
        return (likelihood + weight * np.sum(off**2) / 5) / 9, of_z * (1 - np.tanh(v) ** 2) / 9

    value, gradient = likelihood_and_gradient(jax.random.key(1), v, jnp.float32(weight), data, settings)
    expected, expected_gradient = loops(np.asarray(v, np.float64))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    # The loops' own gradient, by finite differences.
    direction = np.random.default_rng(3).normal(size=v.shape)
    ahead, behind = (loops(np.asarray(v, np.float64) + step * direction)[0] for step in (1e-5, -1e-5))
    assert (ahead - behind) / 2e-5 == pytest.approx(np.sum(expected_gradient * direction), rel=1e-5)


def long_tailed_labels(num_rows=300, num_classes=40):
    """Rows with 1 to 6 labels, some labels frequent and most rare, as tags are."""
    rng = np.random.default_rng(0)
    shares = 1.0 / np.arange(1, num_classes + 1)
    labels = np.zeros((num_rows, num_classes), np.uint8)
    for row in labels:
        row[rng.choice(num_classes, rng.integers(1, 7), replace=False, p=shares / shares.sum())] = 1
    return labels


def test_beats_the_similarity_loss_and_centres_where_label_sets_overlap():
    labels = long_tailed_labels()
    settings = TargetCodeSettings(num_epochs=200, block_height=200, block_width=200)
    learnt = lambda loss: infer_target_codes(jax.random.key(0), labels, 32, settings.replace(loss=loss)).codes
    codes = {loss: learnt(loss) for loss in LOSSES}
    codes["centres"] = row_centres(jax.random.key(1), hash_centres(jax.random.key(0), labels.shape[1], 32), labels)
    found = {name: float(mean_average_precision(c, c, labels, labels)) for name, c in codes.items()}
    # Measured: likelihood .963, similarity .837.
    assert found["likelihood"] > max(0.94, found["similarity"] + 0.1, found["centres"] + 0.05), found
    np.testing.assert_array_equal(codes["auto"], codes["likelihood"])


def test_rows_of_one_label_set_have_one_code():
    labels = long_tailed_labels()
    result = infer_target_codes(jax.random.key(0), labels, 24, TargetCodeSettings(num_epochs=20))
    assert result.path == "likelihood" and result.codes.shape == (300, 24)
    _, members = np.unique(labels, axis=0, return_inverse=True)
    for number in np.unique(members):
        assert len(np.unique(result.codes[members == number], axis=0)) == 1


def test_classes_and_unlabelled_rows():
    """The likelihood also tells classes apart; rows without a label, not even similar to themselves, stay away."""
    labels = np.concatenate([np.arange(200) % 8, np.full(20, -1)])
    result = infer_target_codes(jax.random.key(0), labels, 24, TargetCodeSettings(loss="likelihood", num_epochs=200))
    codes = result.codes.astype(int)
    distance = np.abs(codes[:8, None] - codes[None, :8]).sum(axis=2)
    # Four seeds: at least 10 of 24 bits between classes, and 9 to the rows without a label; even chance lies at 9.
    assert distance[~np.eye(8, dtype=bool)].min() >= 9
    assert np.abs(codes[:8] - codes[-1]).sum(axis=1).min() >= 7


def test_auto_is_the_thesis_for_disjoint_sets():
    assert choose_loss("auto", find_label_sets(np.arange(20) % 4)) == "similarity"
    assert choose_loss("auto", find_label_sets(np.eye(4, dtype=np.uint8))) == "similarity"
    overlapping = find_label_sets(np.array([[1, 0], [1, 1]]))
    assert choose_loss("auto", overlapping) == "likelihood"
    assert choose_loss("similarity", overlapping) == "similarity"
    assert choose_loss("likelihood", find_label_sets(np.arange(4))) == "likelihood"


def test_refuses_unknown_loss():
    with pytest.raises(ValueError, match="loss='hinge'.*auto, similarity, likelihood"):
        start(jax.random.key(0), np.arange(4), 4, TargetCodeSettings(loss="hinge"))
