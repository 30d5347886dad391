"""A bundle opened for reading: its files mapped, checked as far as that takes no time, and searched."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles.hamming import Neighbours, search, within
from drlhash_jax.bundles.ids import Ids
from drlhash_jax.bundles.manifest import Manifest, Part, locate, read_manifest
from drlhash_jax.codes import as_codes
from drlhash_jax.codes.npy_files import map_npy
from drlhash_jax.errors import UserError


def _mapped(folder: Path, part: Part, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Maps a part's array, if it is of the type and shape that the manifest makes it have; -1 stands for any length."""
    path = locate(folder, part, name)
    try:
        array = map_npy(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    fits = array.ndim == len(shape) and all(wanted in (-1, length) for length, wanted in zip(array.shape, shape))
    if array.dtype != dtype or not fits or not array.flags.c_contiguous:
        raise UserError(f"{path} holds {array.dtype} {list(array.shape)}, not {np.dtype(dtype)} {list(shape)}")
    return array


def check_padding(packed: np.ndarray, num_bits: int, where: object) -> None:
    """Refuses packed codes uint8 ``[N, ceil(K / 8)]`` with ones beyond bit K: they would count as distance.

    Raises:
      UserError: names the first such row.
    """
    beyond = (1 << (-num_bits % 8)) - 1
    wrong = packed[:, -1] & beyond if beyond else ()
    if np.any(wrong):
        raise UserError(f"{where}: row {int(np.argmax(wrong != 0))} has ones beyond bit {num_bits}; it is damaged")


def cut_codes(packed: np.ndarray, bits: int) -> np.ndarray:
    """The first bits of packed codes uint8 ``[N, B]``: ``[N, ceil(bits / 8)]``, zero at the end."""
    cut = packed[:, : -(-bits // 8)].copy()
    if bits % 8:
        cut[:, -1] &= 0xFF << (-bits % 8) & 0xFF
    return cut


def _read_codes(folder: Path, part: Part, num_bits: int) -> np.ndarray:
    codes = _mapped(folder, part, "codes.npy", np.uint8, (part.rows, -(-num_bits // 8)))
    check_padding(codes, num_bits, folder / part.folder / "codes.npy")
    return codes


def _read_ids(folder: Path, part: Part) -> Ids:
    text = _mapped(folder, part, "ids.npy", np.uint8, (-1,))
    offsets = _mapped(folder, part, "id_offsets.npy", np.int64, (part.rows + 1,))
    if offsets[0] != 0 or offsets[-1] != len(text) or (np.diff(offsets) <= 0).any():
        raise UserError(f"{folder / part.folder}/id_offsets.npy does not divide ids.npy into ids: it is damaged")
    return Ids(text, offsets, str(folder / part.folder / "ids.npy"))


def _read_removed(folder: Path, manifest: Manifest) -> np.ndarray:
    """Stored rows that no longer count, int64, ascending."""
    if manifest.removed is None:
        return np.empty(0, np.int64)
    rows = _mapped(folder, manifest.removed, "rows.npy", np.int64, (manifest.removed.rows,))
    if rows[0] < 0 or rows[-1] >= manifest.stored_rows or (np.diff(rows) <= 0).any():
        raise UserError(f"{folder / manifest.removed.folder}/rows.npy does not list rows in order: it is damaged")
    return rows


def _join_ids(parts: list[Ids], folder: Path) -> Ids:
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.text) for part in parts)])
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts)]
    text = np.concatenate([part.text for part in parts]) if parts else np.empty(0, np.uint8)
    return Ids(text, np.concatenate([*offsets, starts[-1:]]), f"{folder}, ids.npy of its segments")


class Bundle(NamedTuple):
    """A bundle of codes. Rows are numbered from 0 over those that were not removed.

    Attributes:
      path: its directory.
      manifest: Manifest.
      codes: packed uint8 ``[N, ceil(K / 8)]``, first bit highest, zero at the end; mapped where nothing was added or
        removed since `compact_bundle`.
      stored: int64 ``[N]``, the stored row of each row.
      stored_ids: Ids of all stored rows.
      stored_logits: float16 ``[n, K]`` of each segment, mapped; none where the bundle has no logits.
    """

    path: Path
    manifest: Manifest
    codes: np.ndarray
    stored: np.ndarray
    stored_ids: Ids
    stored_logits: tuple[np.ndarray, ...]

    @property
    def num_bits(self) -> int:
        """K."""
        return self.manifest.num_bits

    def id_of(self, row: int) -> str:
        """The id of a row."""
        return self.stored_ids.at(int(self.stored[row]))

    def ids(self) -> list[str]:
        """Ids of all rows, in their order."""
        return self.stored_ids.take(self.stored.tolist())

    def row_of(self, name: str) -> int:
        """The row of an id.

        Raises:
          UserError: there is no such row.
        """
        for stored in self.stored_ids.find(name):
            row = int(np.searchsorted(self.stored, stored))
            if row < len(self.stored) and self.stored[row] == stored:
                return row
        raise UserError(f"{self.path} has no row with the id {name}")

    def logits_of(self, rows: np.ndarray) -> np.ndarray:
        """Logits float16 ``[n, K]`` of rows int64 ``[n]``, of a bundle that has them."""
        stored = self.stored[rows]
        starts = np.cumsum([0, *(len(each) for each in self.stored_logits)])
        logits = np.empty((len(rows), self.num_bits), np.float16)
        for each, start, end in zip(self.stored_logits, starts, starts[1:]):
            here = (start <= stored) & (stored < end)
            logits[here] = each[stored[here] - start]
        return logits

    def packed(self, codes: np.ndarray) -> np.ndarray:
        """Codes {0, 1} or {-1, 1} ``[Q, K]`` as those of the rows: packed uint8 ``[Q, ceil(K / 8)]``.

        Raises:
          UserError: not codes of K bits.
        """
        codes = as_codes(codes, "query codes")
        if codes.shape[1] != self.num_bits:
            raise UserError(f"query codes have {codes.shape[1]} bits, those of {self.path} {self.num_bits}")
        return np.packbits(codes, axis=1)

    def _compared(self, codes: np.ndarray, bits: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Packed queries and rows, cut off after `bits`."""
        queries = self.packed(codes)
        if bits is None:
            return queries, self.codes
        if not 1 <= bits <= self.num_bits:
            raise UserError(f"bits={bits}: codes of {self.path} have prefixes of 1 to {self.num_bits} bits")
        return cut_codes(queries, bits), cut_codes(self.codes, bits)

    def search(self, codes: np.ndarray, k: int = 10, bits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows.

        Args:
          codes: {0, 1} or {-1, 1} array ``[Q, K]``.
          k: at least 1.
          bits: compares the first bits alone, 1 to K; None for all.

        Returns:
          distances int32 and rows int64, ``[Q, min(k, N)]`` each, ascending by (distance, row).

        Raises:
          UserError: not codes of K bits, k below 1, or no such prefix.
        """
        return search(*self._compared(codes, bits), k)

    def within(self, codes: np.ndarray, radius: int, bits: int | None = None) -> list[Neighbours]:
        """All rows at a distance of at most `radius`, one Neighbours for each of the codes {0, 1} ``[Q, K]``, of which
        the first `bits` alone are compared where it is given.

        Raises:
          UserError: not codes of K bits, a negative radius, or no such prefix.
        """
        return within(*self._compared(codes, bits), radius)


def _open(folder: Path, manifest: Manifest) -> Bundle:
    codes = [_read_codes(folder, part, manifest.num_bits) for part in manifest.segments]
    ids = _join_ids([_read_ids(folder, part) for part in manifest.segments], folder)
    removed = _read_removed(folder, manifest)
    width = -(-manifest.num_bits // 8)
    joined = codes[0] if len(codes) == 1 else np.concatenate([np.empty((0, width), np.uint8), *codes])
    stored = np.delete(np.arange(len(joined)), removed)
    logits = tuple(
        _mapped(folder, part, "logits.npy", np.float16, (part.rows, manifest.num_bits))
        for part in manifest.segments
        if manifest.has_logits
    )
    return Bundle(folder, manifest, joined[stored] if len(removed) else joined, stored, ids, logits)


def open_bundle(path: str | Path) -> Bundle:
    """Opens a bundle for reading.

    Sizes, types, shapes, padding and the order of offsets are checked, and the manifest's digest; those of the other
    files are not: `find_faults` does.

    Args:
      path: its directory.

    Returns:
      Bundle.

    Raises:
      UserError: no bundle, or a damaged one; the message names the file.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    try:
        return _open(folder, manifest)
    except MemoryError as error:
        raise UserError(f"{folder} holds {manifest.stored_rows} rows, more than fit into memory") from error
