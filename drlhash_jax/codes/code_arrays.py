"""Codes as other software writes them, brought to the form of this package; all else is refused in one line."""

from typing import NamedTuple

import numpy as np

from drlhash_jax.codes.checks import BINARY, as_finite, check_matrix, find_kind, find_other, to_bits
from drlhash_jax.errors import UserError


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


def _what_to_do(array: np.ndarray) -> str:
    """What the person may have meant by an array that is not binary."""
    if array.dtype == np.uint8:
        return "packed codes need --codes=packed and --bits=K"
    if array.dtype.kind == "f":
        return "logits of the queries go into --query_logits=FILE, codes of the database must be binary"
    return "give {0,1}, {-1,1}, bool or packed uint8"


def _unpack(array: np.ndarray, name: str, num_bits: int | None, bit_order: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise UserError(f"{name}: values of type {array.dtype}, but packed codes are uint8 with eight bits per byte")
    if num_bits is None:
        raise UserError(f"{name}: packed codes need --bits=K, the number of bits of a code")
    if array.shape[1] != -(-num_bits // 8):
        raise UserError(
            f"{name} has {array.shape[1]} bytes per row, {num_bits} bits need {-(-num_bits // 8)}: correct --bits"
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
      UserError: the array cannot be read that way.
    """
    check_matrix(array, name)
    if kind == "packed":
        bit_order = bit_order or "msb"
        return CodeArray(_unpack(array, name, num_bits, bit_order), kind, bit_order)
    if num_bits not in (None, array.shape[1]):
        raise UserError(f"--bits={num_bits}: {name} has {array.shape[1]} columns; packed codes need --codes=packed")
    if kind == "logits":
        logits = as_finite(array, name)
        return CodeArray((logits >= 0).astype(np.uint8), kind, None, logits)
    if kind == "auto":
        kind = find_kind(array, name, _what_to_do(array))
    elif other := find_other(array, BINARY[kind]):
        low, high = BINARY[kind]
        raise UserError(f"{name}: {other[1]} in row {other[0]}; --codes={kind} are {low} and {high}")
    return CodeArray(to_bits(array), kind)


def check_together(codes: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> None:
    """Refuses codes and labels that do not fit each other, and sets in which no query could find anything.

    Args:
      codes: name of a file -> {0, 1} array ``[., K]``, the queries' first and then the database's.
      labels: name of a file -> labels ``[.]`` or ``[., C]``, in the same order.

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
        kind = lambda values: f"{values.shape[1]} classes" if values.ndim == 2 else "one class per row"
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
            "give every class the same number in both"
        )
