"""Codes as files of other software, written without it (Parquet by pyarrow).

A folder gets files of fixed names and export.json, which lists them with their digests. Before anything is written the
names are claimed there, so that after a kill the same command goes on; a file that export.json does not list, or lists
with another digest, is somebody else's and is never overwritten.
"""

import importlib.util
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from drlhash_jax.bundles.bundle import Bundle, open_bundle
from drlhash_jax.bundles.hamming import pad_to_words
from drlhash_jax.bundles.manifest import MANIFEST
from drlhash_jax.bundles.verify import check_bundle
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of, write_atomically, write_json

_RECORD = "export.json"
_BLOCK_ROWS = 65_536
_SQL = """\
-- psql -f codes.sql, in the folder of codes.copy; PostgreSQL with pgvector 0.7 or newer.
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE codes (id text PRIMARY KEY, code bit({bits}) NOT NULL);
\\copy codes (id, code) FROM 'codes.copy'
-- The ten nearest rows of one of them, exactly, by pgvector's Hamming distance:
SELECT id, code <~> (SELECT code FROM codes ORDER BY id LIMIT 1) AS distance FROM codes ORDER BY distance, id LIMIT 10;
-- An index makes this fast, and loses neighbours where many rows share a code:
-- CREATE INDEX ON codes USING hnsw (code bit_hamming_ops);
"""

Writer = Callable[[Bundle, BinaryIO], None]


def _blocks(bundle: Bundle) -> Iterator[tuple[list[str], np.ndarray]]:
    """Ids and packed codes uint8 ``[n, B]``, piece by piece."""
    ids = bundle.ids()
    for start in range(0, len(ids), _BLOCK_ROWS):
        yield ids[start : start + _BLOCK_ROWS], bundle.codes[start : start + _BLOCK_ROWS]


def _write_ids(bundle: Bundle, file: BinaryIO) -> None:
    for ids, _ in _blocks(bundle):
        file.write("".join(f"{each}\n" for each in ids).encode())


def _write_npy(bundle: Bundle, file: BinaryIO) -> None:
    np.save(file, bundle.codes, allow_pickle=False)


def _write_faiss(bundle: Bundle, file: BinaryIO) -> None:
    """An IndexBinaryFlat as `faiss.write_index_binary` writes it: a head of 33 bytes, then the rows."""
    num_rows, width = bundle.codes.shape
    # Kind, bits, bytes a row, rows, whether trained, metric, bytes of all rows.
    file.write(struct.pack("<4siiq?iQ", b"IBxF", 8 * width, width, num_rows, True, 1, num_rows * width))
    for _, codes in _blocks(bundle):
        file.write(codes.tobytes())


def _write_parquet(bundle: Bundle, file: BinaryIO) -> None:
    """Columns id, code (bytes of fixed length), bytes (a list of numbers) and word0, word1, ... (eight bytes each).

    `bytes` is for readers that want a list of numbers, such as LanceDB.
    """
    import pyarrow as pa
    from pyarrow import parquet

    width = bundle.codes.shape[1]
    num_words = -(-width // 8)
    fields = [pa.field("id", pa.string(), nullable=False), pa.field("code", pa.binary(width), nullable=False)]
    numbers = pa.list_(pa.field("item", pa.uint8(), nullable=False))
    fields.append(pa.field("bytes", numbers, nullable=False))
    fields += [pa.field(f"word{word}", pa.uint64(), nullable=False) for word in range(num_words)]
    facts = {"bits": str(bundle.num_bits), "bit_order": "msb", "padding": "zero"}
    with parquet.ParquetWriter(file, pa.schema(fields, facts), write_page_checksum=True) as writer:
        for ids, codes in _blocks(bundle):
            words = pad_to_words(codes).view(">u8").astype(np.uint64)
            content = pa.py_buffer(np.ascontiguousarray(codes).tobytes())
            code = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(codes), [None, content])
            offsets = pa.array(np.arange(len(codes) + 1, dtype=np.int32) * np.int32(width))
            listed = pa.ListArray.from_arrays(offsets, pa.array(np.ravel(codes)), type=numbers)
            columns = [pa.array(ids, pa.string()), code, listed, *(pa.array(word) for word in words.T)]
            writer.write_table(pa.Table.from_arrays(columns, schema=writer.schema))


def _write_copy(bundle: Bundle, file: BinaryIO) -> None:
    """PostgreSQL's COPY text: id, tab, digits 0 and 1. Ids hold no control characters; only backslashes are escaped."""
    for ids, codes in _blocks(bundle):
        digits = np.unpackbits(codes, axis=1, count=bundle.num_bits) + np.uint8(ord("0"))
        lines = (f"{name}\t{row.tobytes().decode()}\n" for name, row in zip(ids, digits))
        file.write("".join(lines).replace("\\", "\\\\").encode())


def _write_sql(bundle: Bundle, file: BinaryIO) -> None:
    file.write(_SQL.format(bits=bundle.num_bits).encode())


FORMATS: dict[str, dict[str, Writer]] = {
    "npy": {"codes.npy": _write_npy, "ids.txt": _write_ids},
    "faiss": {"codes.faiss": _write_faiss, "ids.txt": _write_ids},
    "parquet": {"codes.parquet": _write_parquet},
    "pgvector": {"codes.copy": _write_copy, "codes.sql": _write_sql},
}


def _read_record(folder: Path) -> dict[str, str | None]:
    """Files that an export wrote, or began to write: name -> digest, or None."""
    path = folder / _RECORD
    try:
        value = json.loads(path.read_text())
        return dict(value["drlhash export"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} was not written by an export: give another --out") from error


def _check_target(folder: Path, names: list[str]) -> dict[str, str | None]:
    """The record of a folder in which these files may be written.

    Raises:
      UserError: one of them is there and is not ours.
    """
    record = _read_record(folder)
    for name in names:
        path = folder / name
        if not path.is_symlink() and not path.exists():
            continue
        ours = name in record and path.is_file() and not path.is_symlink()
        if not ours or record[name] not in (None, sha256_of(path)):
            raise UserError(f"{path} was not written by an export, or was changed since: give another --out")
    return record


def export_bundle(path: str | Path, kind: str, folder: str | Path) -> list[Path]:
    """Writes a bundle's codes for other software.

    Args:
      path: the bundle, whose digests are checked first.
      kind: a key of `FORMATS`.
      folder: made if needed.

    Returns:
      Paths of what was written.

    Raises:
      UserError: a damaged or empty bundle, files that are not ours, no pyarrow, or it cannot be written.
    """
    folder, writers = Path(folder), FORMATS[kind]
    check_bundle(path)
    bundle = open_bundle(path)
    if not len(bundle.codes):
        raise UserError(f"{path} has no rows: there is nothing to export")
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError("--format=parquet needs pyarrow: pip install 'drlhash-jax[parquet]'")
    try:
        record = _check_target(folder, list(writers))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from error
    source = {"bundle": str(path), "manifest": sha256_of(Path(path) / MANIFEST), "bits": bundle.num_bits}
    source |= {"bit_order": "msb", "padding": "zero"}
    note = lambda: write_json(folder / _RECORD, {"drlhash export": record} | source)
    record |= dict.fromkeys(writers)
    note()
    for name, write in writers.items():
        write_atomically(folder / name, lambda file, write=write: write(bundle, file))
        record[name] = sha256_of(folder / name)
    note()
    return [folder / name for name in (*writers, _RECORD)]
