"""Questions to a bundle that need no model: codes as text, and the rows near them."""

import re
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles.bundle import Bundle
from drlhash_jax.bundles.hamming import Neighbours
from drlhash_jax.errors import UserError


class Answer(NamedTuple):
    """What is near one query.

    Attributes:
      query: what was asked for: an id, a code, a file, or a row of one.
      ids: of the rows, nearest first.
      distances: of the rows.
    """

    query: str
    ids: list[str]
    distances: list[int]


def parse_code(text: str, num_bits: int) -> np.ndarray:
    """A code as uint8 ``[1, K]`` from K digits 0 and 1, or from hexadecimal digits, first bit highest.

    Raises:
      UserError: neither, or of another length.
    """
    if len(text) == num_bits and set(text) <= set("01"):
        return np.array([[int(digit) for digit in text]], np.uint8)
    digits, num_bytes = text.removeprefix("0x"), -(-num_bits // 8)
    if len(digits) != 2 * num_bytes or not re.fullmatch("[0-9a-fA-F]+", digits):
        raise UserError(f"{text[:80]}: give {num_bits} digits 0 and 1, or {2 * num_bytes} hexadecimal digits")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))[None]
    if bits[:, num_bits:].any():
        raise UserError(f"{text[:80]} has ones beyond bit {num_bits}")
    return bits[:, :num_bits]


def ask(
    bundle: Bundle,
    queries: list[str],
    codes: np.ndarray,
    k: int | None = None,
    radius: int | None = None,
    bits: int | None = None,
) -> list[Answer]:
    """What is near each of some codes.

    Args:
      bundle: Bundle.
      queries: names of the codes.
      codes: {0, 1} array ``[Q, K]``.
      k: most rows of an answer; None for all within the radius, or for ten where there is no radius either.
      radius: only rows at a distance of at most this; None for any.
      bits: compares the first bits alone; None for all.

    Returns:
      Answers, each ascending by (distance, row).

    Raises:
      UserError: not codes of K bits, k below 1, a negative radius or no such prefix.
    """
    if radius is None:
        nearest = bundle.search(codes, 10 if k is None else k, bits)
        found = [Neighbours(rows, distances) for distances, rows in zip(*nearest)]
    else:
        found = [Neighbours(near.rows[:k], near.distances[:k]) for near in bundle.within(codes, radius, bits)]
    names = [[bundle.id_of(row) for row in near.rows.tolist()] for near in found]
    return [Answer(query, ids, near.distances.tolist()) for query, ids, near in zip(queries, names, found, strict=True)]


def prefix_doubt(bundle: Bundle, bits: int) -> str:
    """Why the first bits of a bundle's codes may rank badly by themselves; "" if they were made for it."""
    known = (bundle.manifest.model or {}).get("prefixes")
    trained = sorted({bundle.num_bits, *(n for n in (known if isinstance(known, list) else []) if type(n) is int)})
    if bits in trained:
        return ""
    if len(trained) == 1:
        return f"codes of {bundle.path} were not trained so that their first bits are good codes"
    lengths = ", ".join(map(str, trained))
    return f"codes of {bundle.path} were trained for prefixes of {lengths} bits, not of {bits}"


def ask_by_id(
    bundle: Bundle, name: str, k: int | None = None, radius: int | None = None, bits: int | None = None
) -> Answer:
    """What is near a row of the bundle, which is left out of the answer itself.

    Raises:
      UserError: there is no such row, its codes are not for comparing with one another, or see `ask`.
    """
    role = bundle.manifest.role
    if role is not None:
        raise UserError(
            f"{bundle.path} holds codes of the {role} side, which are not compared with one another: "
            "its model codes queries and the database apart; give --embedding or --image, and --model"
        )
    row = bundle.row_of(name)
    code = np.unpackbits(bundle.codes[row : row + 1], axis=1, count=bundle.num_bits)
    k = 10 if k is None and radius is None else k
    (answer,) = ask(bundle, [name], code, None if k is None else k + 1, radius, bits)
    # Rows of the same code may come before it, and push it out.
    others = [pair for pair in zip(answer.ids, answer.distances) if pair[0] != name][:k]
    return Answer(name, [each for each, _ in others], [distance for _, distance in others])
