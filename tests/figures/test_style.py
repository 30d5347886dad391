"""The parts that every figure goes through."""

import sys

import numpy as np
import pytest

from drlhash_jax.errors import UserError
from drlhash_jax.figures import Series, plot_map_bits, write_csv


def test_golden_csv(tmp_path):
    rows = [(1, 0.1, None), (np.int64(2), np.float32(0.1), float("nan")), ('a "b", c', np.float64(1e-12), True)]
    write_csv(tmp_path / "x.csv", ("n", "value", "c"), rows)
    # Nine digits of the float32 nearest to .1; nothing for what is not there.
    assert (tmp_path / "x.csv").read_text() == 'n,value,c\n1,0.1,\n2,0.100000001,\n"a ""b"", c",1e-12,True\n'


@pytest.mark.parametrize("seed", range(3))
def test_csv_gives_float32_back(seed, tmp_path):
    values = np.random.default_rng(seed).normal(size=50).astype(np.float32)
    write_csv(tmp_path / "x.csv", ("value",), [(value,) for value in values])
    lines = (tmp_path / "x.csv").read_text().splitlines()[1:]
    np.testing.assert_array_equal(np.array(lines, float).astype(np.float32), values)


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"figures need the package matplotlib: pip install 'drlhash-jax\[report\]'"):
        plot_map_bits(tmp_path / "x", {"A": {"b": Series([1], [2])}})
