"""Codes and labels as other software writes them, brought to ours; what cannot be one is refused in one line."""

from typing import NamedTuple

import numpy as np

from drlhash_jax.errors import UserError

# Values of the kinds that are binary.
_VALUES = {"bits": (0, 1), "signs": (-1, 1)}
_BLOCK_ROWS = 65_536


class CodeArray(NamedTuple):
    """Codes as this package has them.

    Attributes:
      codes: uint8 ``[N, K]`` of {0, 1}.
      kind: what the file held: "bits", "signs", "packed" or "logits".
      bit_order: "msb" or "lsb" of packed codes; None for others.
      logits: float32 ``[N, K]`` if that is what the file held; None otherwise.
    """

    codes: np.ndarray
    kind: str
    bit_order: str | None = None
    logits: np.ndarray | None = None


def _blocks(array: np.ndarray):
    """Start and rows of pieces that are small in memory; a mapped file stays on disk."""
    for start in range(0, len(array), _BLOCK_ROWS):
        yield start, np.asarray(array[start : start + _BLOCK_ROWS])


def _check_finite(array: np.ndarray, name: str) -> None:
    if array.dtype.kind != "f":
        return
    for start, block in _blocks(array):
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, value = start + bad[0][0], block[tuple(bad[0])]
            raise UserError(f"{name} holds {'NaN' if np.isnan(value) else value} in row {row}: give finite numbers")


def _stranger(array: np.ndarray, allowed: tuple[int, ...]) -> tuple[int, object] | None:
    """Row and value of the first entry that is not among the allowed; None if all are."""
    for start, block in _blocks(array):
        wrong = np.all([block != value for value in allowed], axis=0)
        if wrong.any():
            row = int(np.argmax(wrong.any(axis=1)))
            return start + row, block[row][wrong[row]][0]
    return None


def _find_kind(array: np.ndarray, name: str) -> str:
    """The binary kind of an array, "bits" where -1 does not occur."""
    for kind, allowed in _VALUES.items():
        if _stranger(array, allowed) is None:
            return kind
    row, value = _stranger(array, (0, 1, -1)) or (None, None)
    if row is None:
        raise UserError(f"{name} holds -1, 0 and 1: sign(0) is 0 in most software; give {{0,1}} or {{-1,1}}")
    if array.dtype == np.uint8:
        hint = "packed codes need --codes=packed and --bits=K"
    elif array.dtype.kind == "f":
        hint = "logits of the queries go into --query_logits=FILE, codes of the database must be binary"
    else:
        hint = "give {0,1}, {-1,1}, bool or packed uint8"
    raise UserError(f"{name} holds {value} in row {row} and is not binary: {hint}")


def _unpack(array: np.ndarray, name: str, num_bits: int | None, bit_order: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise UserError(f"{name} is {array.dtype}: packed codes are uint8, eight bits a byte")
    if num_bits is None:
        raise UserError(f"{name}: packed codes need --bits=K, the number of bits of a code")
    if array.shape[1] != -(-num_bits // 8):
        raise UserError(
            f"{name} has {array.shape[1]} bytes a row, {num_bits} bits need {-(-num_bits // 8)}: correct --bits"
        )
    codes = np.unpackbits(np.asarray(array), axis=1, bitorder="big" if bit_order == "msb" else "little")
    if codes[:, num_bits:].any():
        row = int(np.argmax(codes[:, num_bits:].any(axis=1)))
        raise UserError(
            f"{name}: row {row} has ones beyond bit {num_bits} in {bit_order} order; correct --bits or --bit_order"
        )
    return codes[:, :num_bits]


def read_codes(
    array: np.ndarray, name: str, *, kind: str = "auto", num_bits: int | None = None, bit_order: str | None = None
) -> CodeArray:
    """Codes of any accepted kind as bits; bit k of logits is 1 iff logit k >= 0, as everywhere here.

    Args:
      array: bool, integer or float ``[N, K]``, or packed uint8 ``[N, ceil(K / 8)]``; may be a mapped file.
      name: flag and file, for messages.
      kind: "bits" {0, 1}, "signs" {-1, 1}, "packed" or "logits"; "auto" finds the first two, never the others, which
        cannot be told from mistakes.
      num_bits: K; needed for packed codes, otherwise checked if it is given.
      bit_order: place of the first bit of a byte of packed codes, highest ("msb", the default) or lowest ("lsb").

    Returns:
      CodeArray.

    Raises:
      UserError: what cannot be read that way; one line.
    """
    if array.ndim != 2:
        raise UserError(f"{name} has shape {array.shape}: codes are [rows, bits]")
    if 0 in array.shape:
        raise UserError(f"{name} is empty, shape {array.shape}: needs at least one row and one bit")
    _check_finite(array, name)
    if kind == "packed":
        bit_order = bit_order or "msb"
        return CodeArray(_unpack(array, name, num_bits, bit_order), kind, bit_order)
    if num_bits not in (None, array.shape[1]):
        raise UserError(f"--bits={num_bits}: {name} has {array.shape[1]} columns; packed codes need --codes=packed")
    if kind == "logits":
        # Float64 beyond float32's range becomes infinite.
        with np.errstate(over="ignore"):
            logits = np.asarray(array).astype(np.float32)
        _check_finite(logits, name)
        return CodeArray((logits >= 0).astype(np.uint8), kind, None, logits)
    found = _find_kind(array, name) if kind == "auto" else kind
    if stranger := _stranger(array, _VALUES[found]):
        row, value = stranger
        low, high = _VALUES[found]
        raise UserError(f"{name} holds {value} in row {row}: --codes={found} are {low} and {high}")
    codes = np.empty(array.shape, np.uint8)
    for start, block in _blocks(array):
        np.greater(block, 0, out=codes[start : start + len(block)], casting="unsafe")
    return CodeArray(codes, found)


def read_labels(array: np.ndarray, name: str) -> np.ndarray:
    """Labels as int32 ``[N]``, negative for none, or uint8 multi-hot ``[N, C]``.

    Args:
      array: integer ``[N]``, or ``[N, C]`` of {0, 1} in any type.
      name: flag and file, for messages.

    Raises:
      UserError: another shape, type or value.
    """
    if array.ndim == 2:
        _check_finite(array, name)
        if stranger := _stranger(array, (0, 1)):
            row, value = stranger
            hint = "; class numbers are one axis [rows]" if array.shape[1] == 1 else ""
            raise UserError(f"{name} holds {value} in row {row}: multi-hot labels are 0 and 1{hint}")
        return (np.asarray(array) != 0).astype(np.uint8)
    if array.ndim != 1:
        raise UserError(f"{name} has shape {array.shape}: labels are integers [rows] or multi-hot [rows, classes]")
    if array.dtype.kind not in "iu":
        raise UserError(f"{name} is {array.dtype}: one class a row must be an integer")
    if array.size and max(int(array.max()), -int(array.min())) >= 2**31:
        raise UserError(f"{name} reaches {array.min()} to {array.max()}: number the classes from 0")
    return np.asarray(array).astype(np.int32)


def check_together(codes: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> None:
    """Refuses sets that do not fit each other, or of which no query could find anything.

    Args:
      codes: name of the query's and of the database's file -> {0, 1} array ``[., K]``, in this order.
      labels: the same of labels ``[.]`` or ``[., C]``.

    Raises:
      UserError: different lengths of codes, numbers of rows or kinds of labels, or no label in common.
    """
    for (code_name, rows), (label_name, values) in zip(codes.items(), labels.items(), strict=True):
        if len(rows) != len(values):
            raise UserError(f"{code_name} has {len(rows)} rows and {label_name} has {len(values)}: they go row by row")
    (query_name, query), (database_name, database) = codes.items()
    if query.shape[1] != database.shape[1]:
        raise UserError(
            f"{query_name} has {query.shape[1]} bits and {database_name} has {database.shape[1]}: "
            "codes of one length can be compared"
        )
    (query_name, query), (database_name, database) = labels.items()
    if query.shape[1:] != database.shape[1:]:
        kind = lambda values: f"{values.shape[1]} classes" if values.ndim == 2 else "one class a row"
        raise UserError(
            f"{query_name} has {kind(query)} and {database_name} has {kind(database)}: give both in one form"
        )
    if query.ndim == 1:
        shared = np.intersect1d(query[query >= 0], database[database >= 0]).size
    else:
        shared = (query.any(axis=0) & database.any(axis=0)).any()
    if not shared:
        raise UserError(
            f"no query shares a label with any row: {query_name} and {database_name} have no class in common; "
            "number the classes alike in both"
        )
