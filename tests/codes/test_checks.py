"""Tests of what counts as codes and labels: every accepted form gives the same bits, and the rest gets one line."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drlhash_jax.codes import as_codes, as_label_pair, as_labels, pack_distinct, pack_in_order
from drlhash_jax.errors import UserError

ROOT = Path(__file__).parents[2]
CODES = np.random.default_rng(0).integers(0, 2, (5, 7))
SIGNS = 2 * CODES - 1
LABELS = np.array([3, -1, 0, 2, 3])
HOT = np.eye(4, dtype=int)[[3, 0, 0, 2, 3]]

FORMS = {
    "int64": CODES,
    "uint8": CODES.astype(np.uint8),
    "bool": CODES.astype(bool),
    "float16": CODES.astype(np.float16),
    "big-endian": CODES.astype(">i4"),
    "list": CODES.tolist(),
    "int8 signs": SIGNS.astype(np.int8),
    "float32 signs": SIGNS.astype(np.float32),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_codes_gives_the_same_bits(name):
    got = as_codes(FORMS[name])
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, CODES)
    for pack in (pack_distinct, pack_in_order):
        for each, expected in zip(pack(FORMS[name], LABELS), pack(CODES.astype(np.uint8), LABELS), strict=True):
            np.testing.assert_array_equal(each, expected)


def test_bits_are_not_copied():
    for codes in (CODES.astype(np.uint8), CODES.astype(bool)):
        assert np.shares_memory(as_codes(codes), codes)


def test_one_sign_alone_is_read_as_it_stands():
    np.testing.assert_array_equal(as_codes(np.full((2, 3), -1)), np.zeros((2, 3)))
    np.testing.assert_array_equal(as_codes(np.ones((2, 3))), np.ones((2, 3)))


def spoilt(array, value):
    array = array.astype(np.float64 if isinstance(value, float) else np.int64)
    array[3, 2] = value
    return array


NO_CODES = {
    "two": (spoilt(CODES, 2), r"codes: 2 in row 3 is not binary; give \{0,1\} or \{-1,1\}"),
    "logit": (spoilt(CODES, 0.25), "codes: 0.25 in row 3 is not binary"),
    "zero among signs": (spoilt(SIGNS, 0), "codes: -1, 0 and 1 occur"),
    "NaN": (spoilt(CODES, math.nan), "codes: NaN in row 3"),
    "infinite": (spoilt(SIGNS, -math.inf), "codes: -inf in row 3"),
    "packed": (np.packbits(CODES.astype(np.uint8), axis=1) | 2, "is not binary"),
    "text": (CODES.astype(str), "codes: values of type <U.* are not numbers"),
    "complex": (CODES + 0j, "codes: values of type complex128 are not numbers"),
    "objects": (CODES.astype(object), "codes: values of type object are not numbers"),
    "one axis": (CODES[0], r"codes: shape \(7,\) is not \[rows, bits\]"),
    "no rows": (CODES[:0], r"codes: shape \(0, 7\) is empty"),
    "no bits": (CODES[:, :0], r"codes: shape \(5, 0\) is empty"),
}


@pytest.mark.parametrize("codes, message", [pytest.param(*case, id=name) for name, case in NO_CODES.items()])
def test_what_is_no_code_gets_one_line(codes, message):
    for function in (as_codes, lambda x: pack_distinct(x, LABELS), lambda x: pack_in_order(x, LABELS)):
        with pytest.raises(UserError, match=message) as error:
            function(codes)
        assert "\n" not in str(error.value)


def test_every_form_of_labels_gives_the_same():
    for labels in (LABELS, LABELS.astype(np.int8), LABELS.astype(np.float32), LABELS.tolist(), 7 * LABELS // 7):
        got = as_labels(labels)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, LABELS)
    for labels in (HOT, HOT.astype(bool), HOT.astype(np.float64), HOT.astype(np.uint8)):
        got = as_labels(labels)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, HOT)


def test_negative_numbers_of_any_size_mean_no_label():
    for labels in (np.array([5, -(2**40)]), np.array([5.0, -1e300]), np.array([5, -7])):
        np.testing.assert_array_equal(as_labels(labels), [5, -1])


NO_LABELS = {
    "fraction": (np.array([1.0, 0.5]), "labels: 0.5 in row 1 is not a class number"),
    "NaN": (np.array([1.0, math.nan]), "labels: NaN in row 1"),
    "inexact": (np.array([1.0, 2.0**24], np.float32), "labels: 16777216 is too large to be exact in float32"),
    "bool": (np.array([True, False]), "labels: values of type bool are not class numbers"),
    "text": (np.array(["cat", "dog"]), "labels: values of type <U3 are not class numbers"),
    "huge": (np.array([1, 2**31]), "labels: class number 2147483648 is beyond int32; number the classes from 0"),
    "three axes": (np.zeros((2, 2, 2)), r"labels: shape \(2, 2, 2\)"),
    "signs": (np.array([[1, -1], [1, 1]]), "labels: -1 in row 0; multi-hot labels are 0 and 1"),
    "soft": (np.array([[0, 1], [0.5, 0]]), "labels: 0.5 in row 1; multi-hot"),
    "column": (np.array([[0], [4]]), r"labels: 4 in row 1; .* class numbers are one axis \[rows\]"),
    "NaN among multi-hot": (np.array([[0, math.nan]]), "labels: NaN in row 0"),
    "text among multi-hot": (np.array([["0", "1"]]), "labels: values of type <U1 are not numbers"),
}


@pytest.mark.parametrize("labels, message", [pytest.param(*case, id=name) for name, case in NO_LABELS.items()])
def test_what_is_no_label_gets_one_line(labels, message):
    with pytest.raises(UserError, match=message) as error:
        as_labels(labels)
    assert "\n" not in str(error.value)


def test_class_numbers_beyond_int32_are_renumbered_alike_in_both():
    small = np.array([4, 0, -1, 9]), np.array([9, 4, 4, 0, -1, 1])
    big = [np.where(labels >= 0, labels * 2**32 + 5, labels) for labels in small]
    for query, database in (big, (big[0], big[1].astype(np.float64))):
        got = as_label_pair(query, database)
        assert [labels.dtype for labels in got] == [np.int32, np.int32]
        np.testing.assert_array_equal(got[0], [2, 0, -1, 3])
        np.testing.assert_array_equal(got[1], [3, 2, 2, 0, -1, 1])
    # What fits stays as it is.
    for got, expected in zip(as_label_pair(*small), small, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_neighbours_beyond_float64_stay_apart():
    query, database = np.array([2**63, 3], np.uint64), np.array([2**62, 2**62 + 1, 3, -1])
    got = as_label_pair(query, database)
    np.testing.assert_array_equal(got[0], [3, 0])
    np.testing.assert_array_equal(got[1], [1, 2, 0, -1])


def test_the_room_needs_no_jax():
    code = "import sys; sys.modules['jax'] = None; import drlhash_jax.codes as room; print(len(room.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
