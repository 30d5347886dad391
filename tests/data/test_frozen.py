"""Codes that rows have already: read from a file, found among other rows, and refused where they do not fit."""

import numpy as np
import pytest

from drlhash_jax.data import read_frozen_rows
from drlhash_jax.errors import UserError

ROWS, SIGNS = np.array([7, 2, 5]), np.array([[1, -1], [1, 1], [-1, 1]], np.int8)


def read(folder, num_rows=8, num_bits=2, **arrays):
    path = folder / "codes.npz"
    np.savez(path, **({"rows": ROWS, "codes": SIGNS} | arrays))
    return read_frozen_rows(str(path), num_rows, num_bits)


def test_codes_are_found_by_row_number(tmp_path):
    frozen = read(tmp_path)
    np.testing.assert_array_equal(frozen.codes, [[1, 0], [1, 1], [0, 1]])
    rows = np.array([0, 5, 3, 7])
    places, codes = frozen.among(rows)
    found = dict(zip(rows[places].tolist(), codes.tolist(), strict=True))
    assert found == {5: [0, 1], 7: [1, 0]} and codes.dtype == np.uint8


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"num_bits": 3}, "codes of 2 bits, and the run makes codes of 3"),
        ({"num_rows": 7}, "from 0 to 6, each once"),
        ({"rows": np.array([7, 2, 2])}, "each once"),
        ({"rows": np.array([-1, 2, 3])}, "from 0 to 7"),
        ({"rows": ROWS[:2]}, "one row number a code"),
        ({"rows": ROWS.astype(np.float32)}, "one row number a code"),
        ({"codes": SIGNS * 3}, "is not binary"),
    ],
)
def test_what_does_not_fit_is_refused(facts, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **facts)
