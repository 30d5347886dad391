"""Seals: every record that changes is named, and no line of the chain can be cut, moved, edited or signed by others."""

import json
import stat
import zlib

import numpy as np
import pytest
from bundle_makers import draw_codes, make_bundle, pack, plant

from drlhash_jax import bundles
from drlhash_jax.bundles.seal import SEALS
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays, write_arrays


@pytest.fixture
def place(tmp_path):
    """A sealed bundle ``x.drlh`` of rows 0/0 to 0/5 and 1/0 to 1/3, with its keys and those of someone else."""
    make_bundle(tmp_path / "x.drlh", (6, 4))
    for name in ("key.pem", "other.pem"):
        bundles.make_key(tmp_path / name)
    bundles.seal_bundle(tmp_path / "x.drlh", tmp_path / "key.pem")
    return tmp_path


def faults_of(place, key="key.public.pem"):
    return bundles.find_seal_faults(place / "x.drlh", place / key)[0]


def changes_of(place):
    start = f"{place / 'x.drlh'} changed since it was sealed: "
    faults = faults_of(place)
    assert all(fault.startswith(start) for fault in faults), faults
    return [fault.removeprefix(start) for fault in faults]


def plant_rows(place, rows, segment="segment-000001"):
    """Puts rows (id, code) in the place of a segment's of as many, with all SHA-256 that belong to them."""
    ids, codes = zip(*rows)
    text = "".join(ids).encode()
    offsets = np.cumsum([0, *map(len, ids)]).astype(np.int64)
    contents = {"codes.npy": np.stack(codes), "ids.npy": np.frombuffer(text, np.uint8), "id_offsets.npy": offsets}
    for name, content in contents.items():
        plant(place / "x.drlh", segment, name, content)


def rows_of(place, count=6):
    bundle = bundles.open_bundle(place / "x.drlh")
    return list(zip(bundle.ids(), bundle.codes.copy()))[:count]


def test_what_was_sealed_is_what_is_there(place):
    faults, sealed = bundles.find_seal_faults(place / "x.drlh", place / "key.public.pem")
    assert faults == [] and sealed.number == 1
    assert bundles.find_faults(place / "x.drlh") == []


def test_a_changed_code_is_named_though_all_digests_were_written_anew(place):
    rows = rows_of(place)
    rows[2][1][0] ^= 128
    plant_rows(place, rows)
    assert bundles.find_faults(place / "x.drlh") == []
    assert changes_of(place) == ["row 2, 0/2: its code was changed"]


def test_a_flipped_bit_is_named_by_file_and_by_row(place):
    file = place / "x.drlh/segment-000002/codes.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 128
    file.write_bytes(content)
    damaged, changed = faults_of(place)
    assert "/codes.npy: its SHA-256" in damaged and changed.endswith("row 9, 1/3: its code was changed")


def test_exchanged_ids_moved_rows_and_new_names(place):
    rows = rows_of(place)
    (first, code), (second, other) = rows[1], rows[4]
    plant_rows(place, [*rows[:1], (second, code), *rows[2:4], (first, other), rows[5]])
    assert changes_of(place) == [
        *("row 1, 0/4: its code was changed", "row 4, 0/1: its code was changed"),
        *("row 1, 0/4: it was moved, from row 4", "row 4, 0/1: it was moved, from row 1"),
    ]
    plant_rows(place, [*rows[1:], rows[0]])
    assert changes_of(place) == ["row 5, 0/0: it was moved, from row 0"]
    plant_rows(place, [*rows[:3], ("9/9", rows[3][1]), *rows[4:]])
    assert changes_of(place) == ["row 3, 9/9: it was added", "row 3 of the seal, 0/3: it was removed"]


def test_append_remove_and_compact_are_found_and_sealed_again(place):
    path = place / "x.drlh"
    bundles.append_rows(path, pack(draw_codes(1)), ["new"])
    bundles.remove_rows(path, ["0/3"])
    expected = ["row 9, new: it was added", "row 3 of the seal, 0/3: it was removed"]
    assert changes_of(place) == expected
    bundles.compact_bundle(path)
    assert changes_of(place) == expected
    assert bundles.seal_bundle(path, place / "key.pem").number == 2 and faults_of(place) == []
    assert [each.name for each in path.glob("sealed-*")] == ["sealed-000002.npz"]
    bundles.compact_bundle(path)
    (change,) = changes_of(place)
    assert change.startswith("its records are the same")


def test_a_bundle_without_rows(place):
    bundles.remove_rows(place / "x.drlh", bundles.open_bundle(place / "x.drlh").ids())
    assert len(changes_of(place)) == 10
    bundles.seal_bundle(place / "x.drlh", place / "key.pem")
    assert faults_of(place) == []
    bundles.append_rows(place / "x.drlh", pack(draw_codes(1)), ["new"])
    assert changes_of(place) == ["row 0, new: it was added"]


def seal_thrice(place):
    for _ in range(2):
        bundles.seal_bundle(place / "x.drlh", place / "key.pem")
    return (place / "x.drlh" / SEALS).read_bytes().splitlines(keepends=True)


def edited(line, **fields):
    return json.dumps(json.loads(line) | fields).encode() + b"\n"


TAMPERED = {
    "cut off": (lambda lines: [*lines[:2], lines[2][:-9]], "line 3 is no seal"),
    "no line break": (lambda lines: [*lines[:2], lines[2][:-1]], "line 3 is no seal"),
    "the last one gone": (lambda lines: lines[:2], "sealed-000002.npz cannot be read"),
    "the first one gone": (lambda lines: lines[1:], "line 1 does not follow"),
    "reordered": (lambda lines: [lines[1], lines[0], lines[2]], "line 1 does not follow"),
    "twice": (lambda lines: [*lines, lines[2]], "line 4 does not follow"),
    "edited": (lambda lines: [*lines[:2], edited(lines[2], rows=9)], "line 3 was not signed by this key"),
    "another field": (lambda lines: [*lines[:2], edited(lines[2], more=9)], "line 3 is no seal"),
    "spaces": (lambda lines: [*lines[:2], b" " + lines[2]], "line 3 is no seal"),
    "a number": (lambda lines: [b"1\n"], "line 1 is no seal"),
    "all gone": (lambda lines: [], "has no seals.jsonl"),
}


@pytest.mark.parametrize("tamper, message", TAMPERED.values(), ids=TAMPERED)
def test_the_chain_holds(tamper, message, place):
    (place / "x.drlh" / SEALS).write_bytes(b"".join(tamper(seal_thrice(place))))
    (fault,) = faults_of(place)
    assert message in fault


def test_keys_of_others(place):
    assert "line 1 was not signed by this key" in faults_of(place, "other.public.pem")[0]
    with pytest.raises(UserError, match="line 1 was not signed by this key"):
        bundles.seal_bundle(place / "x.drlh", place / "other.pem")
    with pytest.raises(UserError, match="no public key in PEM"):
        faults_of(place, "key.pem")
    with pytest.raises(UserError, match="no private key in PEM"):
        bundles.seal_bundle(place / "x.drlh", place / "key.public.pem")
    assert faults_of(place) == []


def test_an_edited_list_of_records_is_found(place):
    file = place / "x.drlh/sealed-000001.npz"
    arrays = read_arrays(file)
    names = zlib.decompress(arrays["ids"].tobytes()).replace(b"0/3", b"0/9")
    write_arrays(file, arrays | {"ids": np.frombuffer(zlib.compress(names), np.uint8)})
    (fault,) = faults_of(place)
    assert fault.startswith(f"{file} is not the list that was signed")


def test_a_damaged_bundle_is_not_sealed(place):
    file = place / "x.drlh/segment-000001/codes.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 128
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"codes.npy: its SHA-256"):
        bundles.seal_bundle(place / "x.drlh", place / "key.pem")


def test_keys_are_private_and_never_overwritten(place):
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    before = (place / "key.pem").read_bytes()
    with pytest.raises(UserError, match="is there already"):
        bundles.make_key(place / "key.pem")
    (place / "key.public.pem").unlink()
    with pytest.raises(UserError, match="is there already"):
        bundles.make_key(place / "key.pem")
    assert (place / "key.pem").read_bytes() == before and not (place / "key.public.pem").exists()
