"""Arrays in .npz archives, which may be crafted to grow without end."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drlhash_jax.codes.npy_files import one_line, read_npy
from drlhash_jax.data.paths import regular_file
from drlhash_jax.errors import UserError

# An archive that grows by more than this holds no measurements and no weights.
_MAX_RATIO = 100
_SMALL_BYTES = 256 * 2**20


def check_unfolding(num_bytes: int, stored_bytes: int, where: str) -> None:
    """Refuses what grows on reading as only a crafted archive does.

    Args:
      num_bytes: after unpacking.
      stored_bytes: of the archive on disk. The lengths in its directory do not tell: members may overlap.
      where: the file, for messages.

    Raises:
      UserError: more than a hundredfold, and beyond 256 MiB.
    """
    if num_bytes > max(_SMALL_BYTES, _MAX_RATIO * stored_bytes):
        raise UserError(
            f"{where} unpacks from {stored_bytes} to {num_bytes} bytes: refused; store it uncompressed (numpy.savez)"
        )


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an .npz archive.

    Raises:
      UserError: not a regular file, not a .zip archive, or damaged, also where that shows while it is read.
    """
    try:
        with zipfile.ZipFile(regular_file(path)) as archive:
            yield archive
    except UserError:
        raise
    except Exception as error:
        # zipfile lets through what its decompressors raise (zlib.error, LZMAError, OSError, EOFError, struct.error).
        raise UserError(
            f"{path} cannot be read as an .npz file (damaged, or another kind?): {one_line(error)}"
        ) from error


def npz_keys(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays of an .npz archive."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npz(path: Path, key: str) -> np.ndarray:
    """Reads one array of an .npz archive.

    Raises:
      UserError: see `open_npz` and `read_npy`; no such key, or an array that unpacks to much more than is stored.
    """
    where = f"{path}:{key}"
    with open_npz(path) as archive:
        keys = npz_keys(archive)
        if key not in keys:
            raise UserError(f"{where[:200]}: no such key; it holds {', '.join(keys[:10])[:200]}")
        member = archive.infolist()[keys.index(key)]
        check_unfolding(member.file_size, Path(path).stat().st_size, where)
        with archive.open(member) as file:
            return read_npy(file, member.file_size, where)
