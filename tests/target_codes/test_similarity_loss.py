"""Tests of the two similarity losses: equal to the dense definition, to each other, and to the known floor."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from drlhash_jax.target_codes import (
    blockwise_similarity_loss,
    exact_similarity_loss,
    find_label_sets,
    quantisation_loss,
)


def multi_hot_of(labels):
    if labels.ndim == 2:
        return labels
    return np.array([[label == c for c in range(max(labels.max(), 0) + 1)] for label in labels]).astype(np.uint8)


def dense_value_and_gradient(z, labels):
    """1/(n^2 K^2) ||Z Z^T - K S||^2 and its gradient in float64 with S written out.

    The differential of ||R||^2 with R = Z Z^T - K S is 2 <R, dZ Z^T + Z dZ^T>, so the gradient is 2 (R + R^T) Z.
    """
    z, multi_hot = np.asarray(z, np.float64), multi_hot_of(labels).astype(np.int64)
    n, num_bits = z.shape
    similarity = np.where(multi_hot @ multi_hot.T > 0, 1.0, -1.0)
    residual = z @ z.T - num_bits * similarity
    scale = 1 / (n * num_bits) ** 2
    return scale * (residual**2).sum(), scale * 2 * (residual + residual.T) @ z


def exact_loss_of(labels):
    label_sets = find_label_sets(labels)
    members, sets = jnp.asarray(label_sets.members), jnp.asarray(label_sets.sets)
    return functools.partial(exact_similarity_loss, members=members, sets=sets, disjoint=label_sets.disjoint)


def blockwise_loss_of(labels, height, width):
    multi_hot = jnp.asarray(multi_hot_of(labels), jnp.float32)
    return functools.partial(blockwise_similarity_loss, labels=multi_hot, height=height, width=width)


def relaxed_codes(n, num_bits, seed=0):
    return np.tanh(np.random.default_rng(seed).normal(size=(n, num_bits))).astype(np.float32)


def make_labels(kind, n):
    rng = np.random.default_rng(n)
    if kind == "single":
        return rng.integers(0, 4, n)
    if kind == "unlabelled":
        labels = rng.integers(-1, 3, n)
        assert (labels < 0).any()
        return labels
    labels = (rng.random((n, 9)) < 0.2).astype(np.uint8)
    labels[0] = 0
    if kind == "many sets":
        labels = (rng.random((n, 30)) < 0.1).astype(np.uint8)
    return labels


def assert_equal_gradients(got, expected, tolerance):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()
    assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


def assert_equals_dense(loss, z, labels):
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(z))
    expected_value, expected_gradient = dense_value_and_gradient(z, labels)
    assert float(value) == pytest.approx(expected_value, rel=3e-6)
    assert_equal_gradients(gradient, expected_gradient, 1e-5)


KINDS = ["single", "unlabelled", "multi", "many sets"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, num_bits", [(23, 5), (37, 33)])
def test_exact_equals_dense(kind, n, num_bits):
    labels = make_labels(kind, n)
    assert_equals_dense(exact_loss_of(labels), relaxed_codes(n, num_bits), labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("height, width", [(5, 7), (37, 1), (64, 50)])
def test_blockwise_equals_dense(kind, height, width):
    # 37 is divisible by neither 5 nor 7; 64 and 50 are larger than all rows.
    labels = make_labels(kind, 37)
    assert_equals_dense(blockwise_loss_of(labels, height, width), relaxed_codes(37, 12), labels)


@pytest.mark.parametrize("labels", [np.arange(300) % 150, np.arange(300) // 2 - 1], ids=["labelled", "unlabelled"])
def test_exact_equals_dense_with_many_classes(labels):
    # More than 128 disjoint sets: their sums are a scatter instead of a matrix product.
    assert len(np.unique(labels)) > 128
    assert_equals_dense(exact_loss_of(labels), relaxed_codes(300, 8), labels)


@pytest.mark.parametrize("num_sets", [129, 5000])
def test_exact_loss_of_a_million_rows_with_a_dominant_set(num_sets):
    # Nine rows in ten belong to one set and have one code, so that their float32 sum, row after row, is .7 % off.
    n, num_bits = 1_000_000, 4
    rng = np.random.default_rng(num_sets)
    members = np.where(rng.random(n) < 0.9, 0, rng.integers(0, num_sets, n)).astype(np.int32)
    z = np.where(members[:, None] == 0, 0.9, np.tanh(rng.normal(size=(n, num_bits)))).astype(np.float32)
    wide = z.astype(np.float64)
    means = np.stack([np.bincount(members, column, num_sets) for column in wide.T], axis=1) / n
    agreement = 2 * (means**2).sum() - (means.sum(axis=0) ** 2).sum()
    expected = ((wide.T @ wide / (n * num_bits)) ** 2).sum() - 2 / num_bits * agreement + 1
    loss = jax.jit(functools.partial(exact_similarity_loss, sets=jnp.ones((num_sets, 1)), disjoint=True))
    assert float(loss(jnp.asarray(z), jnp.asarray(members))) == pytest.approx(expected, rel=5e-5)


def test_many_sets_ignore_filling_and_take_the_whole_range():
    # Codes at both ends of [-1, 1], and rows beyond the last set as filling, which neither value nor gradient sees.
    labels = np.arange(300) % 150
    z = np.where(np.random.default_rng(0).random((300, 8)) < 0.5, -1.0, 1.0).astype(np.float32)
    assert_equals_dense(exact_loss_of(labels), z, labels)
    label_sets = find_label_sets(labels)
    members = jnp.asarray(np.append(label_sets.members, [150, 150]))
    loss = functools.partial(exact_similarity_loss, sets=jnp.asarray(label_sets.sets), disjoint=True, num_rows=300)
    filled = jnp.asarray(np.concatenate([z, np.zeros((2, 8), np.float32)]))
    value, gradient = jax.jit(jax.value_and_grad(loss))(filled, members)
    assert float(value) == pytest.approx(dense_value_and_gradient(z, labels)[0], rel=3e-6)
    np.testing.assert_array_equal(gradient[300:], np.zeros((2, 8)))


def test_exact_equals_dense_with_many_overlapping_sets():
    # More than 512 sets, and no multiple of it: their similarities are taken in blocks of 512, the last one padded.
    labels = make_labels("many sets", 900)
    num_sets = len(find_label_sets(labels).sets)
    assert num_sets > 512 and num_sets % 512
    assert_equals_dense(exact_loss_of(labels), relaxed_codes(900, 8), labels)


def test_overlapping_code_agrees_on_disjoint_sets():
    labels = make_labels("unlabelled", 40)
    label_sets = find_label_sets(labels)
    members, sets = jnp.asarray(label_sets.members), jnp.asarray(label_sets.sets)
    z = jnp.asarray(relaxed_codes(40, 6))
    value_and_grad = jax.jit(jax.value_and_grad(exact_similarity_loss), static_argnames="disjoint")
    results = [value_and_grad(z, members, sets, disjoint=disjoint) for disjoint in (True, False)]
    assert float(results[0][0]) == pytest.approx(float(results[1][0]), rel=1e-6)
    assert_equal_gradients(results[0][1], results[1][1], 1e-6)


@pytest.mark.parametrize("kind", ["single", "unlabelled", "multi"])
def test_gradients_against_differences_in_float64(kind):
    labels = make_labels(kind, 13)
    with jax.enable_x64(True):
        z = jnp.asarray(relaxed_codes(13, 4), jnp.float64)
        expected_value, expected_gradient = dense_value_and_gradient(z, labels)
        for loss in (exact_loss_of(labels), blockwise_loss_of(labels, 5, 4)):
            loss = jax.jit(loss)
            check_grads(loss, (z,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)
            # Inside other functions, as in training: the factor reaches the gradient.
            value, gradient = jax.value_and_grad(lambda z, loss=loss: 3.0 * loss(z))(z)
            np.testing.assert_allclose(value, 3 * expected_value, rtol=1e-10)
            np.testing.assert_allclose(gradient, 3 * expected_gradient, rtol=1e-10, atol=1e-12)


def assert_paths_agree(labels, num_bits, block):
    z = jnp.asarray(relaxed_codes(len(labels), num_bits))
    exact, exact_gradient = jax.jit(jax.value_and_grad(exact_loss_of(labels)))(z)
    value, gradient = jax.jit(jax.value_and_grad(blockwise_loss_of(labels, *block)))(z)
    assert float(value) == pytest.approx(float(exact), rel=1e-5)
    assert_equal_gradients(gradient, exact_gradient, 1e-5)


def test_paths_agree_on_coco(shared_data):
    with np.load(shared_data / "coco_labels.npz", allow_pickle=False) as file:
        labels = file["labels"][file["hashnet_train"]]
    assert labels.shape == (10_000, 80)
    assert_paths_agree(labels, 64, (500, 500))


def test_paths_agree_on_single_labels():
    # 10,500 rows, as the NUS-WIDE protocol trains on, in blocks that do not divide them.
    assert_paths_agree(np.random.default_rng(0).integers(0, 21, 10_500), 64, (512, 1000))


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_permuting_rows_permutes_the_gradient(kind):
    labels, z = make_labels(kind, 30), relaxed_codes(30, 6)
    order = np.random.default_rng(1).permutation(30)
    for loss_of in (exact_loss_of, functools.partial(blockwise_loss_of, height=7, width=4)):
        value, gradient = jax.jit(jax.value_and_grad(loss_of(labels)))(jnp.asarray(z))
        moved_value, moved_gradient = jax.jit(jax.value_and_grad(loss_of(labels[order])))(jnp.asarray(z[order]))
        assert float(moved_value) == pytest.approx(float(value), rel=1e-6)
        assert_equal_gradients(moved_gradient, np.asarray(gradient)[order], 1e-6)


def test_renaming_labels_and_flipping_or_permuting_bits_changes_nothing():
    labels, z = make_labels("multi", 30), relaxed_codes(30, 6)
    rng = np.random.default_rng(2)
    variants = [
        (labels[:, rng.permutation(9)], z),
        (labels, z[:, rng.permutation(6)]),
        (labels, z * np.where(rng.random(6) < 0.5, 1, -1).astype(np.float32)),
    ]
    for loss_of in (exact_loss_of, functools.partial(blockwise_loss_of, height=7, width=4)):
        value = float(jax.jit(loss_of(labels))(jnp.asarray(z)))
        for other_labels, other_z in variants:
            assert float(jax.jit(loss_of(other_labels))(jnp.asarray(other_z))) == pytest.approx(value, rel=1e-6)


def simplex_codes(num_classes):
    """C codes of C - 1 bits with inner products -1: Sylvester's Hadamard matrix without its constant column."""
    matrix = np.ones((1, 1))
    while len(matrix) < num_classes:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix[:, 1:]


@pytest.mark.parametrize("num_classes, repeats", [(2, 1), (4, 1), (4, 3), (16, 2)])
def test_thesis_floor_of_simplex_codes(num_classes, repeats):
    # Rows of H without its constant column have inner product 0 - 1 = -1 = -K/(C - 1) with K = C - 1 bits: a simplex;
    # repeating the bits keeps the ratio. Entries of Z Z^T - K S:
    #   same class (a share 1/C of the pairs if classes are balanced): K - K = 0;
    #   other class (a share 1 - 1/C): -K/(C - 1) + K = K (1 - 1/(C - 1)).
    # Squared, averaged over the n^2 pairs and divided by K^2: (1 - 1/C) (1 - 1/(C - 1))^2. No codes of balanced classes
    # do better: for class codes u_c, ||sum of u_c||^2 >= 0 keeps the mean of u_c u_d over c != d above -K/(C - 1).
    floor = (1 - 1 / num_classes) * (1 - 1 / (num_classes - 1)) ** 2
    labels = np.tile(np.arange(num_classes), 5)
    z = np.tile(simplex_codes(num_classes)[labels], (1, repeats)).astype(np.float32)
    for loss in (exact_loss_of(labels), blockwise_loss_of(labels, 7, 6)):
        value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(z))
        assert float(value) == pytest.approx(floor, abs=2e-6)
        # The gradient is radial: moving along a simplex code only changes its length.
        gradient = np.asarray(gradient)
        radial = (gradient * z).sum(axis=1, keepdims=True) / (z**2).sum(axis=1, keepdims=True) * z
        np.testing.assert_allclose(gradient, radial, rtol=0, atol=1e-7)
    assert simplex_codes(4).tolist() == [[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]]


def test_golden_two_rows():
    # z = (1, .5), (-1, 1), different classes: Z Z^T = [[1.25, -.5], [-.5, 2]], K S = 2 [[1, -1], [-1, 1]].
    # Residual [[-.75, 1.5], [1.5, 0]]: squares .5625 + 2.25 + 2.25 = 5.0625, over n^2 K^2 = 16: .31640625.
    z = jnp.array([[1.0, 0.5], [-1.0, 1.0]])
    labels = np.array([0, 1])
    assert float(exact_loss_of(labels)(z)) == pytest.approx(0.31640625, rel=1e-6)
    assert float(blockwise_loss_of(labels, 2, 1)(z)) == pytest.approx(0.31640625, rel=1e-6)
    # Gradient 4/16 R Z: rows (-.75 - 1.5, -.375 + 1.5) / 4 and (1.5, .75) / 4.
    expected = np.array([[-2.25, 1.125], [1.5, 0.75]]) / 4
    for loss in (exact_loss_of(labels), blockwise_loss_of(labels, 2, 1)):
        np.testing.assert_allclose(jax.grad(loss)(z), expected, rtol=1e-5)


def test_unlabelled_row_is_not_similar_to_itself():
    # One row of one bit z = .5: without a label S = -1 and (.25 + 1)^2 = 1.5625, with one (.25 - 1)^2 = .5625.
    z = jnp.array([[0.5]])
    for labels, expected in ((np.array([-1]), 1.5625), (np.array([0]), 0.5625), (np.array([[0]]), 1.5625)):
        assert float(exact_loss_of(labels)(z)) == pytest.approx(expected, rel=1e-6)
        assert float(blockwise_loss_of(labels, 3, 2)(z)) == pytest.approx(expected, rel=1e-6)


def test_quantisation_loss():
    # ((.5 - 1)^2 + (1 - 1)^2 + (0 - 1)^2 + (.75 - 1)^2) / 4 = (.25 + 0 + 1 + .0625) / 4 = .328125.
    z = jnp.array([[-0.5, 1.0], [0.0, 0.75]])
    assert float(quantisation_loss(z)) == pytest.approx(0.328125, rel=1e-6)
    # Gradient 2 (|z| - 1) sign(z) / 4.
    z = jnp.array([[-0.5, 1.0], [0.25, 0.75]])
    np.testing.assert_allclose(jax.grad(quantisation_loss)(z), [[0.25, 0], [-0.375, -0.125]], rtol=1e-6)


def test_refuses_rows_that_do_not_fit():
    z = jnp.zeros((4, 3))
    with pytest.raises(AssertionError):
        blockwise_similarity_loss(z, jnp.zeros((5, 2)), height=2, width=2)
    with pytest.raises(AssertionError):
        exact_similarity_loss(z, jnp.zeros((4, 2)), jnp.zeros((2, 2)), disjoint=True)
