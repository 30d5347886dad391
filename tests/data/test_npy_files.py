"""Headers of .npy that lie or hurt, damaged archives, and arrays that unpack to too much: one line each."""

import io
import time
import zipfile

import numpy as np
import pytest

from drlhash_jax.codes.npy_files import map_npy, read_header, read_npy
from drlhash_jax.data.embeddings import read_array
from drlhash_jax.data.npz_files import check_unfolding
from drlhash_jax.errors import UserError


def with_header(shape="(4, 2)", descr="'<f4'", content=b"\0" * 32, version=1):
    """A .npy whose header holds these texts."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + content


def refused(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and len(message) < 600


CRAFTED = {
    "true": "(True, 3)",
    "two negative": "(-1, -4)",
    "negative": "(-4, 2)",
    "huge": f"({2**62},)",
    "huge and empty": f"({2**62}, 0)",
    "huge product and empty": f"({2**40}, {2**40}, 0)",
    "signs": "(" + "-" * 5_000 + "1, 2)",
    "sums": "(" + "1+" * 4_000 + "1, 2)",
    "brackets": "(" * 5_000 + "4, 2",
    "closed brackets": "(" * 4_000 + "4" + ")" * 4_000,
    "axes": "(" + "1, " * 65 + ")",
    "text": "('4', 2)",
    "list": "[4, 2]",
    "float": "(4.0, 2)",
    "complex": "(4+0j, 2)",
    "none": "None",
    "digits": "(" + "9" * 5_000 + ",)",
    "call": "(exit(), 2)",
}


@pytest.mark.parametrize("shape", list(CRAFTED.values()), ids=list(CRAFTED))
@pytest.mark.parametrize("version", [1, 2, 3])
def test_crafted_shapes(tmp_path, shape, version):
    content = with_header(shape, version=version)
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for address in (f"{tmp_path}/x.npy", f"{tmp_path}/x.npz:x"):
        refused(lambda address=address: read_array(address), address)


@pytest.mark.parametrize(
    "descr",
    ["'|O'", "'V8'", "[('a', '<f4')]", "'<f999'", "'<U4'", "3", "None", "('<f4', (2**40,))", "'<f4' 1", "{}"],
)
def test_crafted_types(tmp_path, descr):
    (tmp_path / "x.npy").write_bytes(with_header(descr=descr))
    refused(lambda: read_array(f"{tmp_path}/x.npy"), "x.npy")


def test_headers_take_no_time():
    began = time.perf_counter()
    for start in ("-", "(", "[", "{", "not ", "1+", "'", '"', "\\", "\n", "#", "0x", "1_"):
        refused(lambda start=start: read_header(io.BytesIO(with_header(start * (9_000 // len(start)))), "x"), "x")
    assert time.perf_counter() - began < 5


def test_header_of_python_2_says_nothing(tmp_path, recwarn):
    (tmp_path / "x.npy").write_bytes(with_header("(4L, 2L)"))
    assert read_array(f"{tmp_path}/x.npy").shape == (4, 2)
    assert not recwarn.list


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float16), np.zeros((3, 0)), np.array(3.0), np.ones(3, bool)])
def test_unusual_shapes_are_read(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    for out in (map_npy(tmp_path / "x.npy"), read_array(f"{tmp_path}/x.npy")):
        assert out.shape == array.shape and out.dtype == array.dtype and out.tolist() == array.tolist()


def test_a_stream_that_ends_early():
    content = with_header()
    assert read_npy(io.BytesIO(content), len(content), "x").shape == (4, 2)
    refused(lambda: read_npy(io.BytesIO(content[:-1]), len(content), "x"), "x declares the shape (4, 2)", "holds 31")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED])
def test_damaged_streams(tmp_path, method):
    """Every byte of the stream is changed in turn: the array is read whole, or one line says what is wrong."""
    values = np.random.default_rng(0).integers(0, 4, 200).astype(np.int64)
    file = io.BytesIO()
    np.save(file, values)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.npy", file.getvalue())
    content = path.read_bytes()
    num_refused = 0
    for position in range(0, len(content), 1 if method != zipfile.ZIP_STORED else 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            assert read_array(f"{path}:x").tolist() == values.tolist()
        except UserError as error:
            num_refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert num_refused > 50


def test_how_much_may_unfold():
    check_unfolding(256 * 2**20, 1, "small")
    check_unfolding(10**11, 10**9, "stored")
    refused(
        lambda: check_unfolding(1_500_000_000, 1_500_000, "x.npz"), "x.npz unpacks from 1500000 to 1500000000 bytes"
    )
