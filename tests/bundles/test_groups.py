"""Groups of rows that are near each other, against a search of graphs."""

import numpy as np
import pytest
from bundle_makers import NUM_BITS, make_bundle, pack
from scipy.sparse.csgraph import connected_components

from drlhash_jax import bundles
from drlhash_jax.bundles import dedup
from drlhash_jax.errors import UserError


def groups_of_graph(codes, radius):
    distances = (codes[:, None] != codes[None]).sum(axis=2)
    _, labels = connected_components(distances <= radius)
    members = [np.flatnonzero(labels == label).tolist() for label in range(labels.max(initial=-1) + 1)]
    return sorted(rows for rows in members if len(rows) > 1)


@pytest.mark.parametrize("block_rows", [3, 4_096])
@pytest.mark.parametrize("radius", [0, 1, 2, 3, 12, 99])
def test_groups_are_the_components_of_the_graph(radius, block_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(dedup, "_BLOCK_ROWS", block_rows)
    path = make_bundle(tmp_path / "x.drlh", (60, 40))
    first = bundles.open_bundle(path).codes
    # Some rows twice.
    bundles.append_rows(path, first[[5, 5, 70, 9]], ["a", "b", "c", "d"])
    bundles.remove_rows(path, ["0/5", "1/3"])
    bundle = bundles.open_bundle(path)
    expected = groups_of_graph(np.unpackbits(bundle.codes, axis=1, count=NUM_BITS), radius)
    assert [rows.tolist() for rows in bundles.find_groups(bundle, radius)] == expected and expected


def test_a_chain_is_one_group(tmp_path):
    """Steps of one bit, in an order in which groups meet late."""
    chain = np.tril(np.ones((NUM_BITS + 1, NUM_BITS), np.uint8), -1)
    order = np.random.default_rng(0).permutation(len(chain))
    bundles.create_bundle(tmp_path / "x.drlh", NUM_BITS)
    bundles.append_rows(tmp_path / "x.drlh", pack(chain[order]), [str(row) for row in order])
    bundle = bundles.open_bundle(tmp_path / "x.drlh")
    assert [rows.tolist() for rows in bundles.find_groups(bundle, 1)] == [list(range(NUM_BITS + 1))]
    assert bundles.find_groups(bundle, 0) == []


def test_no_rows_and_no_radius(tmp_path):
    bundle = bundles.open_bundle(make_bundle(tmp_path / "x.drlh", ()))
    assert bundles.find_groups(bundle, 2) == []
    with pytest.raises(UserError, match="radius=-1: must be at least 0"):
        bundles.find_groups(bundles.open_bundle(make_bundle(tmp_path / "y.drlh")), -1)
