"""Tests of merging equal rows: exact values, weights, packing, and no needless compilation."""

import collections
import functools

import jax
import numpy as np
import pytest

from drlhash_jax.codes import pack_distinct
from drlhash_jax.retrieval import evaluate, mean_average_precision, pack_words, precision_within_radius
from drlhash_jax.retrieval.packing import pack_labels


def repeated_rows(num_rows, num_bits, kind, seed=0):
    """Rows drawn from a dozen codes, some with a bit flipped, and a few labels: most (code, label) pairs repeat."""
    rng = np.random.default_rng([seed, num_bits])
    pool = np.random.default_rng(num_bits).integers(0, 2, (12, num_bits)).astype(np.uint8)
    codes = pool[rng.integers(0, 12, num_rows)]
    codes[:, 0] ^= rng.random(num_rows) < 0.2
    if kind == "integer":
        labels = rng.integers(-1, 4, num_rows)
        labels[0] = 50  # a class that one side only may have
    else:
        labels = (rng.random((5, 40)) < 0.1).astype(np.uint8)[rng.integers(0, 5, num_rows)]
        labels[0] = 0
    return codes, labels


def word_of(bits):
    """Big-endian words by arithmetic: bit i of a row is worth 2^(31 - i) in its word, missing bits are 0."""
    words = []
    for start in range(0, len(bits), 32):
        words.append(sum(int(bit) * 2 ** (31 - i) for i, bit in enumerate(bits[start : start + 32])))
    return tuple(words)


@functools.partial(jax.jit, static_argnames="top_k")
def metrics_of_raw_rows(data, top_k):
    rules = ("expected", "pessimistic", "optimistic")
    return *(mean_average_precision(*data, top_k=top_k, ties=ties) for ties in rules), precision_within_radius(*data)


@pytest.mark.parametrize(
    "kind, num_bits, top_k", [("integer", 48, None), ("multi_hot", 1, None), ("multi_hot", 33, 30)]
)
def test_evaluate_equals_metrics_on_raw_rows(kind, num_bits, top_k):
    query, query_labels = repeated_rows(90, num_bits, kind, seed=1)
    database, labels = repeated_rows(400, num_bits, kind, seed=2)
    labels[0] = labels[1]  # the lonely class of the queries has no counterpart
    data = query, database, query_labels, labels
    metrics = evaluate(*data, top_k=top_k)
    *raw, (precision, empty) = metrics_of_raw_rows(data, top_k)
    np.testing.assert_allclose((metrics.map, metrics.map_pessimistic, metrics.map_optimistic), raw, rtol=0, atol=1e-6)
    assert metrics.precision_radius2 == pytest.approx(float(precision), abs=1e-6)
    assert metrics.empty_balls == pytest.approx(float(empty), abs=1e-6)
    if kind == "integer":
        without = sum(label < 0 or label not in labels for label in query_labels)
    else:
        without = sum(not (labels.astype(int) @ label.astype(int)).any() for label in query_labels)
    assert without > 0
    assert metrics.num_without_relevant == without
    assert metrics.num_queries == len(query) - without
    assert isinstance(metrics.map, float) and isinstance(metrics.num_queries, int)


@pytest.mark.parametrize("kind", ["integer", "multi_hot"])
@pytest.mark.parametrize("num_bits", [1, 31, 32, 33, 70])
def test_pack_distinct_keeps_every_row(kind, num_bits):
    codes, labels = repeated_rows(300, num_bits, kind)
    packed = pack_distinct(codes, labels)
    assert packed.weights.sum() == 300
    real = packed.weights > 0
    assert real.sum() < 300
    label_of = (lambda row: int(row)) if kind == "integer" else (lambda row: word_of(row))
    expected = collections.Counter((word_of(code), label_of(label)) for code, label in zip(codes, labels))
    as_label = (lambda row: int(row)) if kind == "integer" else (lambda row: tuple(row.tolist()))
    got = {
        (tuple(code.tolist()), as_label(label)): int(weight)
        for code, label, weight in zip(packed.codes[real], packed.labels[real], packed.weights[real])
    }
    assert got == expected
    assert real.sum() == len(expected)  # nothing is listed twice


@pytest.mark.parametrize("num_bits", [1, 31, 32, 33, 64, 70])
def test_packing_equals_pack_words(num_bits):
    rng = np.random.default_rng(num_bits)
    codes = rng.integers(0, 2, (7, num_bits)).astype(np.uint8)
    words = np.asarray(pack_words(codes))
    assert words.dtype == np.uint32
    assert [tuple(row) for row in words.tolist()] == [word_of(row) for row in codes]
    for row, expected in zip(codes, words):
        np.testing.assert_array_equal(pack_distinct(row[None], np.zeros(1, np.int64)).codes, expected[None])
    # Codes are bit-compatible with np.packbits: the bytes of a big-endian word are the packed bytes.
    as_bytes = words.astype(">u4").view(np.uint8)[:, : -(-num_bits // 8)]
    np.testing.assert_array_equal(as_bytes, np.packbits(codes, axis=1))


def test_packing_of_labels():
    np.testing.assert_array_equal(pack_labels(np.array([3, -1, 0])), [3, -1, 0])
    hot = np.zeros((2, 40), np.float32)
    hot[0, 0], hot[1, 39] = 1, 0.5
    # Column 0 is the highest bit of word 0; column 39 is bit 31 - 7 of word 1; any value but 0 is a label.
    np.testing.assert_array_equal(pack_labels(hot), [[2**31, 0], [0, 2**24]])


def test_labels_keep_equal_codes_apart():
    codes = np.zeros((4, 5), np.uint8)
    packed = pack_distinct(codes, np.array([0, 1, -1, 1]))
    found = {int(label): int(weight) for label, weight in zip(packed.labels, packed.weights) if weight}
    assert found == {0: 1, 1: 2, -1: 1}


def test_boolean_codes_count_alike():
    codes, labels = repeated_rows(50, 16, "integer")
    for got, expected in zip(pack_distinct(codes.astype(bool), labels), pack_distinct(codes, labels)):
        np.testing.assert_array_equal(got, expected)


def test_same_shapes_compile_once(caplog):
    rng = np.random.default_rng(0)

    def rows(num_rows):
        # All rows distinct: the row number in binary.
        codes = (rng.permutation(num_rows)[:, None] >> np.arange(9)) & 1
        return codes.astype(np.uint8), rng.integers(0, 3, num_rows)

    def compilations(num_queries, num_rows):
        (query, query_labels), (database, labels) = rows(num_queries), rows(num_rows)
        caplog.clear()
        with jax.log_compiles():
            evaluate(query, database, query_labels, labels)
        return sum(record.getMessage().startswith("Finished XLA compilation") for record in caplog.records)

    compilations(40, 300)
    assert compilations(40, 300) == 0
    # 40 rows fill a step of 4, 300 a step of 32 (to 320): 39 and 311 rows share those shapes, 60 rows do not.
    assert compilations(39, 311) == 0
    assert compilations(60, 300) > 0


def test_refuses_codes_of_different_widths():
    labels = np.array([0, 1])
    with pytest.raises(ValueError, match="bits"):
        evaluate(np.zeros((2, 3), np.uint8), np.ones((2, 4), np.uint8), labels, labels)


def test_refuses_labels_that_do_not_fit():
    codes = np.zeros((2, 4), np.uint8)
    with pytest.raises(ValueError, match="labels"):
        evaluate(codes, codes, np.eye(2, 3, dtype=np.uint8), np.eye(2, 5, dtype=np.uint8))
    with pytest.raises(ValueError, match="labels"):
        evaluate(codes, codes, np.array([0, 1]), np.eye(2, 5, dtype=np.uint8))
