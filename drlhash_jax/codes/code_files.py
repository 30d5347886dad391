"""Codes on disk: one packed .npy a set, with a .json beside it that says how to read it."""

import json
from pathlib import Path

import numpy as np

from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of, write_atomically, write_json

_FACTS = {"rows", "bits", "bit_order", "sha256"}


def save_codes(path: Path, codes: np.ndarray) -> None:
    """Writes codes as uint8, eight bits a byte, first bit in the highest place, zero padding at the end.

    Args:
      path: without ending; ``path.npy`` and ``path.json`` are written.
      codes: {0, 1} array ``[N, K]``.
    """
    packed = np.packbits(codes.astype(np.uint8), axis=1)
    array_path = path.with_name(f"{path.name}.npy")
    write_atomically(array_path, lambda file: np.save(file, packed))
    facts = {"rows": len(codes), "bits": codes.shape[1], "bit_order": "msb", "padding": "zero"}
    write_json(path.with_name(f"{path.name}.json"), facts | {"sha256": sha256_of(array_path)})


def load_codes(array_path: Path, num_bits: int) -> np.ndarray:
    """Reads codes back: uint8 ``[N, num_bits]`` of {0, 1}."""
    return np.unpackbits(np.load(array_path, allow_pickle=False), axis=1, count=num_bits)


def read_code_facts(array_path: Path) -> dict | None:
    """What `save_codes` wrote beside an array: rows, bits, bit_order and sha256; None where there is no such file.

    Raises:
      UserError: the array is not the one that they are about.
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
