"""Codes on disk: a packed .npy for each set of codes, with a .json beside it that says how to read it."""

import json
from pathlib import Path

import numpy as np

from drlhash_jax.codes.checks import as_codes
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of, write_atomically, write_json

_FACTS = {"rows", "bits", "bit_order", "sha256"}


def save_codes(path: Path, codes: np.ndarray, role: str | None = None) -> None:
    """Writes codes as uint8, eight bits per byte, first bit in the highest place, zero padding at the end.

    Args:
      path: without ending; ``path.npy`` and ``path.json`` are written.
      codes: {0, 1} or {-1, 1} array ``[N, K]``.
      role: "query" or "database" where each has a function of its own, whose codes must not be compared with others
        of the same; None where one function codes both.

    Raises:
      UserError: not codes, see `as_codes`.
    """
    packed = np.packbits(as_codes(codes), axis=1)
    array_path = path.with_name(f"{path.name}.npy")
    write_atomically(array_path, lambda file: np.save(file, packed))
    facts = {"rows": len(codes), "bits": codes.shape[1], "bit_order": "msb", "padding": "zero"}
    facts |= {"role": role} if role else {}
    write_json(path.with_name(f"{path.name}.json"), facts | {"sha256": sha256_of(array_path)})


def load_codes(array_path: Path, num_bits: int) -> np.ndarray:
    """Reads codes back: uint8 ``[N, num_bits]`` of {0, 1}.

    Raises:
      UserError: the file cannot be read, or holds no packed codes of this length.
    """
    try:
        with open(array_path, "rb") as file:
            packed = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{array_path} is missing or damaged: {error}") from error
    if packed.dtype != np.uint8 or packed.shape[1:] != (-(-num_bits // 8),):
        raise UserError(
            f"{array_path} holds {packed.dtype} {packed.shape}, not packed codes of {num_bits} bits: it is damaged or "
            "not a file of codes"
        )
    return np.unpackbits(packed, axis=1, count=num_bits)


def read_code_facts(array_path: Path) -> dict | None:
    """What `save_codes` wrote beside an array: rows, bits, bit_order, sha256, and role where there is one.

    None where there is no such file.

    Raises:
      UserError: the array is not the one that was saved with them.
    """
    path = array_path.with_suffix(".json")
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(facts, dict) or not facts.keys() >= _FACTS:
        return None
    if sha256_of(array_path) != facts["sha256"]:
        raise UserError(f"{array_path}: its SHA-256 is not the one in {path}; the codes were changed or damaged")
    return facts
