"""Tests of asymmetric ranking: a plain stable argsort of inner products, ties, accuracy, refusals."""

import math

import jax
import numpy as np
import pytest

from drlhash_jax.retrieval import Cut, asymmetric_queries, stable_queries
from drlhash_jax.retrieval.asymmetric import asymmetric_precisions
from drlhash_jax.retrieval.packing import pack_labels

jitted = jax.jit(asymmetric_precisions, static_argnames="cuts")


def make_data(seed, kind="integer"):
    """Logits in eighths, so that inner products are exact in float32 whatever the order of the sum."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-16, 17, (12, 10)) / 8
    logits[3] = 0  # every row ties
    database = rng.integers(0, 2, (15, 10))[rng.integers(0, 15, 80)]  # repeated codes tie for every query
    if kind == "integer":
        return logits, database, rng.integers(-1, 4, 12), rng.integers(-1, 4, 80)
    return logits, database, *((rng.random((n, 40)) < 0.1).astype(np.uint8) for n in (12, 80))


def argsort_loop(data, top_k, denominator):
    logits, database, query_labels, labels = data
    for z, label in zip(logits, query_labels):
        score = ((2 * database - 1) * z).sum(axis=1)
        order = np.argsort(-score, kind="stable")
        relevant = (labels == label) & (label >= 0) if labels.ndim == 1 else (labels & label).any(axis=1)
        cut = relevant[order][:top_k]
        total = math.fsum(cut[: k + 1].sum() / (k + 1) for k in range(len(cut)) if cut[k])
        divisor = {"min": min(relevant.sum(), len(cut)), "all": relevant.sum(), "retrieved": cut.sum()}[denominator]
        yield total / max(divisor, 1), relevant.sum()


@pytest.mark.parametrize("kind", ["integer", "multi_hot"])
@pytest.mark.parametrize("top_k, denominator", [(None, "min"), (13, "min"), (13, "all"), (13, "retrieved")])
def test_equals_stable_argsort(kind, top_k, denominator):
    data = make_data(0, kind)
    expected, relevant = zip(*argsort_loop(data, top_k, denominator))
    got = asymmetric_queries(*data, top_k=top_k, denominator=denominator, chunk_size=5)
    np.testing.assert_allclose(got.average_precision, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(got.relevant, relevant)


def test_golden():
    # Scores of 11, 10, 01, 00 for logits (2, -1): 1, 3, -3, -1. Ranking 10, 11, 00, 01; labels 0, 1, 1, 0 in it: hits
    # at ranks 2 and 3, (1/2 + 2/3) / 2 = 7/12. Hamming distance ties 11 with 00 and puts 11 first, at rank 2.
    database, labels = np.array([[1, 1], [1, 0], [0, 1], [0, 0]]), np.array([1, 0, 0, 1])
    got = asymmetric_queries(np.array([[2.0, -1.0]]), database, np.array([1]), labels)
    np.testing.assert_allclose(got.average_precision, [7 / 12], rtol=1e-6)


def test_signs_as_logits_rank_as_hamming_distance():
    data = make_data(1)
    signs = np.where(data[0] > 0, 0.5, -0.5)
    got = asymmetric_queries(signs, *data[1:], top_k=20)
    expected = stable_queries((signs > 0).astype(int), *data[1:], top_k=20)
    np.testing.assert_allclose(got.average_precision, expected.average_precision, rtol=1e-6)


def test_invariances():
    logits, database, query_labels, labels = data = make_data(2)
    rng = np.random.default_rng(0)
    bits, flip = rng.permutation(10), rng.integers(0, 2, 10)
    expected = asymmetric_queries(*data).average_precision
    for variant in (
        (logits[:, bits], database[:, bits], query_labels, labels),
        (np.where(flip, -logits, logits), database ^ flip, query_labels, labels),
        (4 * logits, database, query_labels, labels),
    ):
        np.testing.assert_allclose(asymmetric_queries(*variant).average_precision, expected, rtol=1e-6)


def test_float32_accuracy_at_200000_rows():
    # The score is the row number in 18 bits, so the ranking is the database read backwards.
    rng = np.random.default_rng(3)
    rows = 200_000
    database = (np.arange(rows)[:, None] >> np.arange(18)) & 1
    relevant = (rng.random(rows) < np.linspace(0, 0.4, rows)).astype(np.int32)
    backwards = relevant[::-1].astype(np.float64)
    expected = math.fsum(backwards * np.cumsum(backwards) / np.arange(1, rows + 1)) / backwards.sum()
    logits = 2.0 ** np.arange(18, dtype=np.float32)[None]
    arrays = logits, pack_labels(np.array([1])), database.astype(np.uint8), pack_labels(relevant)
    got, number = jitted(*arrays, cuts=(Cut(),))
    np.testing.assert_allclose(got, [[expected]], rtol=2e-6)
    assert number[0] == relevant.sum()


@pytest.mark.parametrize("value, shown", [(math.nan, "NaN"), (math.inf, "inf"), (1e300, "inf")])
def test_refuses_logits_that_are_not_finite(value, shown):
    logits, *rest = make_data(0)
    logits[2, 2] = value
    with pytest.raises(ValueError, match=f"query logits: {shown} in row 2; give finite numbers"):
        asymmetric_queries(logits, *rest)


@pytest.mark.parametrize("num_rows", [33, 100, 1001])
def test_equal_codes_share_one_score(num_rows):
    # Of codes that are all equal, the order is that of the rows: the relevant first row has rank 1 for every query.
    rng = np.random.default_rng(num_rows)
    logits, code = rng.standard_normal((50, 48)), rng.integers(0, 2, 48)
    labels = np.arange(num_rows)
    for place in (0, num_rows // 2, num_rows - 1):
        got = asymmetric_queries(logits, np.tile(code, (num_rows, 1)), np.full(50, place), labels)
        np.testing.assert_allclose(got.average_precision, 1 / (place + 1), rtol=1e-6)


def test_zero_has_no_sign():
    # One bit, logit 0: the scores are 0 and, as a bare product, -0; they tie, and the first row leads.
    got = asymmetric_queries(np.zeros((1, 1)), np.array([[0], [1]]), np.array([5]), np.array([5, 6]))
    np.testing.assert_array_equal(got.average_precision, [1])
