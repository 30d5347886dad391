"""Rows of mapped arrays: read when they are asked for, and copied where they are few."""

import numpy as np
import pytest

from drlhash_jax.data.row_view import RowView, row_pieces, select_rows

VALUES = np.arange(12, dtype=np.float16).reshape(6, 2)
INDICES = np.array([5, 0, 3, 3])


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    return np.load(tmp_path / "a.npy", mmap_mode="r")


def test_a_view_is_like_the_array(mapped):
    view, expected = RowView(mapped, INDICES), VALUES[INDICES]
    assert view.shape == (4, 2) and view.ndim == 2 and view.dtype == np.float16 and len(view) == 4
    for part in (
        slice(None),
        slice(1, 3),
        slice(2, 9),
        slice(None, None, 2),
        np.array([3, 0, 0]),
        np.array([[1], [2]]),
    ):
        found = view[part]
        assert type(found) is np.ndarray and found.dtype == np.float16
        np.testing.assert_array_equal(found, expected[part])
    assert view[1].tolist() == [0, 1] and view[-1].tolist() == [6, 7]
    with pytest.raises(IndexError):
        view[np.array([4])]


def test_all_rows_as_an_array(mapped):
    view = RowView(mapped, INDICES)
    np.testing.assert_array_equal(np.asarray(view), VALUES[INDICES])
    assert np.asarray(view, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.array(view, copy=False)


def test_small_selections_and_arrays_in_memory_are_copied(mapped):
    for array, limit in ((mapped, 16), (VALUES, 0)):
        found = select_rows(array, INDICES, limit)
        assert type(found) is np.ndarray and found.tolist() == VALUES[INDICES].tolist()
        assert not np.shares_memory(found, array)


def test_large_selections_of_mapped_arrays_are_views(mapped):
    view = select_rows(mapped, INDICES, 15)
    assert isinstance(view, RowView) and view[:].tolist() == VALUES[INDICES].tolist()
    again = select_rows(view, np.array([2, 1, 0]), 8)
    assert isinstance(again, RowView) and again[:].tolist() == VALUES[[3, 0, 5]].tolist()
    assert select_rows(view, np.array([2]), 8).tolist() == [[6, 7]]


def test_pieces_cover_all_rows(mapped, monkeypatch):
    monkeypatch.setattr("drlhash_jax.data.row_view._PIECE_BYTES", 9)
    for array in (VALUES, mapped, RowView(mapped, np.arange(6))):
        pieces = list(row_pieces(array))
        assert [start for start, _ in pieces] == [0, 2, 4]
        assert np.concatenate([piece for _, piece in pieces]).tolist() == VALUES.tolist()
    assert list(row_pieces(VALUES[:0])) == []
