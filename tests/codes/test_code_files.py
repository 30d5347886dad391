"""Tests of codes on disk: what is no file of codes gets one line."""

import numpy as np
import pytest

from drlhash_jax.codes import load_codes, save_codes
from drlhash_jax.errors import UserError

CODES = np.random.default_rng(0).integers(0, 2, (6, 12))


def write_array(array):
    return lambda path: np.save(path, array)


DAMAGES = {
    "absent": (lambda path: path.unlink(), "missing or damaged: .*No such file"),
    "empty": (lambda path: path.write_bytes(b""), "missing or damaged"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-3]), "missing or damaged"),
    "text": (lambda path: path.write_text("codes"), "missing or damaged"),
    "archive": (lambda path: np.savez(path.open("wb"), CODES), "missing or damaged"),
    "floats": (write_array(CODES / 2), r"holds float64 \(6, 12\), not packed codes of 12 bits"),
    "too wide": (write_array(np.zeros((6, 3), np.uint8)), r"holds uint8 \(6, 3\)"),
    "one axis": (write_array(np.zeros(6, np.uint8)), r"holds uint8 \(6,\)"),
}


@pytest.mark.parametrize("spoil, message", [pytest.param(*case, id=name) for name, case in DAMAGES.items()])
def test_damaged_files_get_one_line(spoil, message, tmp_path):
    save_codes(tmp_path / "query", CODES)
    path = tmp_path / "query.npy"
    np.testing.assert_array_equal(load_codes(path, 12), CODES)
    spoil(path)
    with pytest.raises(UserError, match=message) as error:
        load_codes(path, 12)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_signs_are_saved_as_bits_and_logits_not_at_all(tmp_path):
    save_codes(tmp_path / "signs", 2 * CODES - 1)
    np.testing.assert_array_equal(load_codes(tmp_path / "signs.npy", 12), CODES)
    with pytest.raises(UserError, match="is not binary"):
        save_codes(tmp_path / "logits", CODES - 0.3)
    assert not (tmp_path / "logits.npy").exists()
