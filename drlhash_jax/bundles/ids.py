"""Names of rows: UTF-8 text end to end with an offset for each row.

Two plain arrays are mapped in no time whatever their size, hold nothing that could be run, and let one name be found by
searching bytes, without a million Python strings being made.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.errors import UserError

MAX_ID_BYTES = 4_096


def id_problem(name: str) -> str:
    """Why no row can have this id; "" if one can.

    Control characters would break files of one id a line, and terminals that they are printed on.
    """
    if not name:
        return "it is empty"
    if not name.isprintable() and any(ord(each) < 32 or 127 <= ord(each) < 160 for each in name):
        return "it holds a control character"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return f"it has {length} bytes, more than {MAX_ID_BYTES}" if length > MAX_ID_BYTES else ""


def pack_ids(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes uint8 ``[T]`` of n ids, and where each begins and the last one ends: int64 ``[n + 1]``."""
    encoded = [name.encode() for name in names]
    offsets = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(each) for each in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


class Ids(NamedTuple):
    """Ids of n rows.

    Attributes:
      text: uint8 ``[T]``, UTF-8; may be mapped.
      offsets: int64 ``[n + 1]``, ascending from 0 to T; may be mapped.
      where: their file, for messages.
    """

    text: np.ndarray
    offsets: np.ndarray
    where: str

    def take(self, rows: Sequence[int]) -> list[str]:
        """Ids of some rows, many at a time.

        Raises:
          UserError: one is not UTF-8.
        """
        content, bounds = self.text.tobytes(), self.offsets.tolist()
        names, row = [], 0
        try:
            for row in rows:
                names.append(content[bounds[row] : bounds[row + 1]].decode())
        except UnicodeDecodeError as error:
            raise UserError(f"{self.where}: the id of row {row} is not UTF-8; the bundle is damaged") from error
        return names

    def at(self, row: int) -> str:
        """The id of one row, which is as ids are written: it may be shown.

        Raises:
          UserError: it is not.
        """
        first, last = self.offsets[row : row + 2]
        (name,) = Ids(self.text[first:last], np.array([0, last - first]), self.where).take([0])
        if problem := id_problem(name):
            raise UserError(f"{self.where}: the id of row {row}: {problem}; the bundle is damaged")
        return name

    def find(self, name: str) -> list[int]:
        """Rows of an id, ascending: several where earlier ones were removed and the id came again."""
        wanted, found = name.encode(), []
        content = self.text.tobytes()
        start = content.find(wanted) if wanted else -1
        while start >= 0:
            row = int(np.searchsorted(self.offsets, start))
            # Otherwise it is a piece of other ids.
            if self.offsets[row : row + 2].tolist() == [start, start + len(wanted)]:
                found.append(row)
            start = content.find(wanted, start + 1)
        return found


def check_ids(names: Sequence[str], where: str) -> None:
    """Refuses ids that no row can have, and ids that occur twice.

    Args:
      names: of the rows.
      where: their file or folder, for messages.

    Raises:
      UserError: names the first such row.
    """
    for row, name in enumerate(names):
        if problem := id_problem(name):
            raise UserError(f"{where}: the id of row {row} cannot be used: {problem}")
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise UserError(f"{where}: the id {twice} occurs twice; every row needs one of its own")


def read_id_lines(path: Path) -> list[str]:
    """Reads a file of one id a line.

    Raises:
      UserError: the file cannot be read, or is not UTF-8.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file of ids, one a line")
        text = path.read_bytes().decode()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text of one id a line: {error.reason} at byte {error.start}") from error
    # Not splitlines, which also splits at characters that a name may have.
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line.removesuffix("\r") for line in lines]
