"""Search engines find in exported codes what the bundle finds: README's lines, run as they stand there."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from drlhash_jax import bundles

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.split("### Codes in search engines")[1].split("### As a library")[0]
SNIPPETS = {each.split("\n")[0].removeprefix("# "): each for each in re.findall(r"```python\n(.*?)```", SECTION, re.S)}
# Lists of near rows can miss one.
EXACT = [name for name in SNIPPETS if "lists" not in name]


def modules_of(snippet):
    """First names of what a snippet imports."""
    lines = re.findall(r"^import (.*)$", snippet, re.M)
    return [each.split(" as ")[0].strip().split(".")[0] for line in lines for each in line.split(",")]


def distances_of(name, query, folder, monkeypatch):
    """What a snippet finds, run in a folder in which the codes are exported."""
    for module in modules_of(SNIPPETS[name]):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: pip install -e '.[engines]'")
    monkeypatch.chdir(folder)
    found = {"query": query}
    exec(compile(SNIPPETS[name], name, "exec"), found)
    return [int(each) for each in found["distances"]]


def export(folder, codes):
    """A bundle of packed codes, and everything that is exported of it."""
    bundles.create_bundle(folder / "x.drlh", 64)
    bundles.append_rows(folder / "x.drlh", codes, [f"row{row}" for row in range(len(codes))])
    for kind in ("npy", "faiss", "parquet", "pgvector"):
        bundles.export_bundle(folder / "x.drlh", kind, folder / kind)
    exported = folder / "exported"
    exported.mkdir()
    for path in folder.glob("*/codes.*"):
        path.rename(exported / path.name)
    return bundles.open_bundle(folder / "x.drlh")


@pytest.fixture
def base(request):
    """Packed codes uint8 ``[N, 8]``, two thirds of which others have too, and a query beside one of them."""
    rng = np.random.default_rng(0)
    num_rows = 100_000 if request.config.getoption("--exhaustive") else 20_000
    centres = rng.integers(0, 256, (num_rows // 100, 8), np.uint8)
    codes = centres[rng.integers(0, len(centres), num_rows)]
    flipped = rng.random(num_rows) < 1 / 3
    codes[flipped, rng.integers(0, 8, flipped.sum())] ^= (1 << rng.integers(0, 8, flipped.sum())).astype(np.uint8)
    query = codes[7].copy()
    query[3] ^= 0b00010001
    return codes, query


def test_every_snippet_is_found():
    assert len(SNIPPETS) == 7 and len(EXACT) == 6


@pytest.mark.parametrize("name", SNIPPETS)
def test_distances_are_those_of_the_bundle(name, base, tmp_path, monkeypatch):
    codes, query = base
    expected, _ = export(tmp_path, codes).search(np.unpackbits(query)[None], 10)
    found = distances_of(name, query, tmp_path, monkeypatch)
    assert len(np.unique(codes, axis=0)) < len(codes) / 2 and found[0] == expected[0, 0]
    if name in EXACT:
        assert found == expected[0].tolist()
    else:
        assert len(set(found) & set(expected[0].tolist())) > 0 and sum(found) <= expected.sum() + 10


@pytest.mark.parametrize("name", sorted(EXACT))
def test_another_order_of_the_bits_is_noticed(name, base, tmp_path, monkeypatch):
    """A query whose bytes are read from the lowest bit on gets other distances."""
    codes, query = base
    expected, _ = export(tmp_path, codes).search(np.unpackbits(query)[None], 10)
    turned = np.packbits(np.unpackbits(query, bitorder="little"))
    assert distances_of(name, turned, tmp_path, monkeypatch) != expected[0].tolist()
