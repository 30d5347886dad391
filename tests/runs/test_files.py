"""Files on disk: whole or absent, packed as documented, read back as written."""

import hashlib
import json
import resource

import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.codes import load_codes, save_codes
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays, sha256_of, write_arrays, write_atomically, write_json
from drlhash_jax.runs.metric_writer import MetricWriter


@pytest.mark.parametrize("num_bits", [1, 7, 8, 12, 64])
def test_codes_round_trip(num_bits, tmp_path):
    codes = np.random.default_rng(num_bits).integers(0, 2, (9, num_bits)).astype(np.uint8)
    save_codes(tmp_path / "codes" / "query", codes)
    packed = np.load(tmp_path / "codes" / "query.npy")
    assert packed.dtype == np.uint8 and packed.shape == (9, (num_bits + 7) // 8)
    loaded = load_codes(tmp_path / "codes" / "query.npy", num_bits)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, codes)
    facts = json.loads((tmp_path / "codes" / "query.json").read_text())
    assert facts["rows"] == 9 and facts["bits"] == num_bits
    assert facts["sha256"] == hashlib.sha256((tmp_path / "codes" / "query.npy").read_bytes()).hexdigest()


def test_code_bytes(tmp_path):
    codes = np.array([[1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1]])
    save_codes(tmp_path / "codes", codes)
    # First bit highest: 1000 0000 1101(0000) = 80 d0, 0000 0110 0001(0000) = 06 10.
    assert np.load(tmp_path / "codes.npy").tolist() == [[0x80, 0xD0], [0x06, 0x10]]
    facts = json.loads((tmp_path / "codes.json").read_text())
    assert facts["bit_order"] == "msb" and facts["padding"] == "zero"


def test_boolean_codes(tmp_path):
    save_codes(tmp_path / "codes", np.array([[True, False, True]]))
    assert load_codes(tmp_path / "codes.npy", 3).tolist() == [[1, 0, 1]]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(tmp_path / "other", fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_one_line(fill_disk, tmp_path, monkeypatch, capfd):
    path = tmp_path / "arrays.npz"
    write_arrays(path, {"a": np.arange(3)})
    before = path.read_bytes()
    fill_disk()
    with pytest.raises(UserError) as caught:
        write_arrays(path, {"a": np.arange(100_000), "b": np.zeros(3)})
    monkeypatch.undo()
    assert str(caught.value) == (
        f"{path} cannot be written: No space left on device; make room and run the same command again"
    )
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["arrays.npz"]
    assert capfd.readouterr().err == ""


def test_an_array_cut_short_for_want_of_room_says_so(tmp_path):
    rows, limits = np.zeros(10**6, np.uint8), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match="1000000 requested and .* written; make room"):
            write_atomically(tmp_path / "rows.npy", lambda file: np.save(file, rows))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/below", "x" * 300])
def test_a_place_that_cannot_be_written_is_one_line(name, tmp_path):
    (tmp_path / "file").write_text("content")
    with pytest.raises(UserError, match="cannot be written: ") as caught:
        write_json(tmp_path / name, {})
    assert "\n" not in str(caught.value) and "make room" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("array", [np.zeros(2, jnp.bfloat16), np.array([None, {}])])
def test_arrays_that_would_not_come_back_are_refused(array, tmp_path):
    with pytest.raises(TypeError, match="odd: an .npz does not keep arrays of"):
        write_arrays(tmp_path / "arrays.npz", {"odd": array})
    assert not list(tmp_path.iterdir())


def test_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))
    seen = []
    write_atomically(path, lambda file: (file.write(b"new"), file.flush(), seen.append(path.read_bytes())))
    assert seen == [b"old"] and path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_arrays_and_digest(tmp_path):
    arrays = {"a": np.arange(3), "params/head/kernel": np.ones((2, 2), np.float32), "text": np.array("auto")}
    write_arrays(tmp_path / "deep" / "arrays.npz", arrays)
    read = read_arrays(tmp_path / "deep" / "arrays.npz")
    assert read.keys() == arrays.keys()
    for key, value in arrays.items():
        assert read[key].dtype == value.dtype
        np.testing.assert_array_equal(read[key], value)
    assert (
        sha256_of(tmp_path / "deep" / "arrays.npz")
        == hashlib.sha256((tmp_path / "deep" / "arrays.npz").read_bytes()).hexdigest()
    )


def test_json_refuses_what_json_cannot_hold(tmp_path):
    write_json(tmp_path / "value.json", {"b": 1, "a": [None, 0.5]})
    assert json.loads((tmp_path / "value.json").read_text()) == {"b": 1, "a": [None, 0.5]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "value.json", {"map": float("nan")})
    assert json.loads((tmp_path / "value.json").read_text()) == {"b": 1, "a": [None, 0.5]}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metric_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(path)
    writer.forget("encoder")
    writer.write("encoder", 0, loss=jnp.float32(0.5))
    writer.write("encoder", 1, loss=0.25, rate=np.float64(1e-3))
    assert lines_of(path) == [
        {"stage": "encoder", "step": 0, "loss": 0.5},
        {"stage": "encoder", "step": 1, "loss": 0.25, "rate": 0.001},
    ]


def test_a_writer_without_a_file_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = MetricWriter(None)
    writer.write("encoder", 0, loss=1.0)
    writer.forget("encoder")
    writer.cut(0)
    assert writer.size == 0 and not list(tmp_path.iterdir())


def test_forgetting_a_stage(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(path)
    for stage in ("encoder_016", "encoder_064", "selection_016", "encoder_064"):
        writer.write(stage, 3, loss=1.0)
    with open(path, "a") as file:
        file.write('{"stage": "encoder_016", "st')
    writer.forget("encoder_064")
    assert [row["stage"] for row in lines_of(path)] == ["encoder_016", "selection_016"]
    writer.write("encoder_064", 0, loss=2.0)
    assert [row["stage"] for row in lines_of(path)] == ["encoder_016", "selection_016", "encoder_064"]
