"""Files for other software, read by that software, and files that are not ours."""

import json

import numpy as np
import pytest
from bundle_makers import draw_codes, make_bundle, pack

from drlhash_jax import bundles
from drlhash_jax.errors import UserError


@pytest.fixture(params=[12, 64, 136])
def bundle(request, tmp_path):
    path = make_bundle(tmp_path / "x.drlh", num_bits=request.param)
    bundles.append_rows(path, pack(draw_codes(3, request.param, 7)), ["\\N", "日本", 'a "b", c'])
    bundles.remove_rows(path, ["0/4"])
    return bundles.open_bundle(path)


def test_npy(bundle, tmp_path):
    codes, ids, record = bundles.export_bundle(bundle.path, "npy", tmp_path / "out")
    np.testing.assert_array_equal(np.load(codes, allow_pickle=False), bundle.codes)
    assert ids.read_text().split("\n") == [*bundle.ids(), ""]
    assert json.loads(record.read_text())["bits"] == bundle.num_bits


def test_faiss_file_is_the_one_that_faiss_writes(bundle, tmp_path):
    faiss = pytest.importorskip("faiss")
    codes, *_ = bundles.export_bundle(bundle.path, "faiss", tmp_path / "out")
    index = faiss.IndexBinaryFlat(8 * bundle.codes.shape[1])
    index.add(np.ascontiguousarray(bundle.codes))
    faiss.write_index_binary(index, str(tmp_path / "theirs"))
    assert codes.read_bytes() == (tmp_path / "theirs").read_bytes()
    found = faiss.read_index_binary(str(codes)).search(bundle.codes[:5], 7)
    for ours, theirs in zip(bundles.search(bundle.codes[:5], bundle.codes, 7), found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_parquet(bundle, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path, _ = bundles.export_bundle(bundle.path, "parquet", tmp_path / "out")
    table = parquet.read_table(path, page_checksum_verification=True)
    width = bundle.codes.shape[1]
    words = [f"word{number}" for number in range(-(-width // 8))]
    assert table.column_names == ["id", "code", "bytes", *words]
    assert str(table.schema.field("code").type) == f"fixed_size_binary[{width}]"
    assert table.schema.metadata == {b"bits": str(bundle.num_bits).encode(), b"bit_order": b"msb", b"padding": b"zero"}
    assert table["id"].to_pylist() == bundle.ids()
    assert table["code"].to_pylist() == [row.tobytes() for row in bundle.codes]
    assert table["bytes"].to_pylist() == bundle.codes.tolist()
    padded = np.pad(bundle.codes, [(0, 0), (0, 8 * len(words) - width)])
    for number, word in enumerate(words):
        expected = [int.from_bytes(row[8 * number : 8 * number + 8].tobytes(), "big") for row in padded]
        assert table[word].to_pylist() == expected
    # A bit that flips later is found by whoever reads.
    content = bytearray(path.read_bytes())
    start = content.index(bundle.codes[:2].tobytes()) if width >= 8 else len(content) // 3
    content[start] ^= 1
    path.write_bytes(content)
    if width >= 8:
        with pytest.raises(OSError, match="CRC|checksum"):
            parquet.read_table(path, page_checksum_verification=True)


def test_postgresql_copy(bundle, tmp_path):
    copy, sql, _ = bundles.export_bundle(bundle.path, "pgvector", tmp_path / "out")
    lines = copy.read_text().split("\n")
    assert lines.pop() == ""
    found = [line.split("\t") for line in lines]
    # COPY's text form: a backslash is written as two.
    assert [name for name, _ in found] == [name.replace("\\", "\\\\") for name in bundle.ids()]
    bits = np.unpackbits(bundle.codes, axis=1, count=bundle.num_bits)
    assert [code for _, code in found] == ["".join(map(str, row)) for row in bits]
    assert f"code bit({bundle.num_bits})" in sql.read_text() and "<~>" in sql.read_text()


def test_an_export_is_replaced_by_the_next_and_formats_share_a_folder(tmp_path):
    path, out = make_bundle(tmp_path / "x.drlh"), tmp_path / "out"
    first = {kind: bundles.export_bundle(path, kind, out) for kind in bundles.FORMATS}
    before = {file: file.read_bytes() for files in first.values() for file in files}
    for kind in bundles.FORMATS:
        bundles.export_bundle(path, kind, out)
    assert {file: file.read_bytes() for file in before} == before
    bundles.remove_rows(path, ["0/0"])
    bundles.export_bundle(path, "npy", out)
    assert len(np.load(out / "codes.npy")) == 49
    # As after a kill in the middle of writing: the name is claimed, its content unknown.
    record = json.loads((out / "export.json").read_text())
    record["drlhash export"]["codes.npy"] = None
    (out / "export.json").write_text(json.dumps(record))
    (out / "codes.npy").write_bytes(b"half")
    bundles.export_bundle(path, "npy", out)
    assert len(np.load(out / "codes.npy")) == 49


def spoil_nothing_else(out):
    (out / "codes.npy").write_text("mine")


def change_ours(out):
    bundles.export_bundle(out.parent / "x.drlh", "npy", out)
    spoil_nothing_else(out)


def link_away(out):
    (out.parent / "mine").write_text("mine")
    (out / "codes.npy").symlink_to(out.parent / "mine")


def other_record(out):
    (out / "export.json").write_text("{}")


@pytest.mark.parametrize("spoil", [spoil_nothing_else, change_ours, link_away, other_record])
def test_files_of_others_stay(spoil, tmp_path):
    path, out = make_bundle(tmp_path / "x.drlh"), tmp_path / "out"
    out.mkdir()
    spoil(out)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match="was not written by an export"):
        bundles.export_bundle(path, "npy", out)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_nothing_is_made_of_damaged_or_empty_bundles(tmp_path):
    empty, damaged = make_bundle(tmp_path / "empty.drlh", ()), make_bundle(tmp_path / "damaged.drlh")
    file = damaged / "segment-000001/codes.npy"
    content = bytearray(file.read_bytes())
    content[150] ^= 1
    file.write_bytes(content)
    for path, words in ((empty, "no rows"), (damaged, "SHA-256")):
        with pytest.raises(UserError, match=words):
            bundles.export_bundle(path, "npy", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        bundles.export_bundle(make_bundle(tmp_path / "x.drlh"), "npy", tmp_path / "file/out")
    assert not (tmp_path / "out").exists()
