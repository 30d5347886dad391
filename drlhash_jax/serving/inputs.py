"""What people bring, piece by piece as models read it: arrays in files, and image files of a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles import id_problem
from drlhash_jax.data import ImageSpec, Skipped, UnreadableImageError, decode_image, find_files, read_array
from drlhash_jax.errors import UserError

# Rows of embeddings coded at a time, and bytes of pixels.
_BLOCK_ROWS = 65_536
_BLOCK_BYTES = 128 * 2**20


class Images(NamedTuple):
    """Decoded images.

    Attributes:
      names: of the files, n of them.
      pixels: uint8 ``[n, size, size, 3]``.
    """

    names: list[str]
    pixels: np.ndarray


def read_inputs(flag: str, address: str) -> np.ndarray:
    """Reads an array of inputs ``[N, ...]``; a .npy is mapped.

    Raises:
      UserError: see `data.read_array`; or there are no rows.
    """
    try:
        array = read_array(address)
    except UserError as error:
        raise UserError(f"--{flag}: {error}") from error
    if not array.ndim or not len(array):
        raise UserError(f"--{flag}={address} has the shape {list(array.shape)}: there is no row to encode")
    return array


def array_blocks(array: np.ndarray, where: str, first: int = 0) -> Iterator[np.ndarray]:
    """Rows of an array, in pieces that fit into memory whatever its size.

    Args:
      array: ``[N, ...]``.
      where: what it was read from, for messages.
      first: number of its first row there.

    Raises:
      UserError: a number is not finite; names its row.
    """
    bytes_per_row = max(1, array.nbytes // max(1, len(array)))
    step = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // bytes_per_row))
    for start in range(0, len(array), step):
        block = np.asarray(array[start : start + step])
        if block.dtype.kind == "f" and not (finite := np.isfinite(block).reshape(len(block), -1).all(axis=1)).all():
            row = first + start + int(np.argmin(finite))
            raise UserError(f"{where}: row {row} holds a number that is not finite; its code would mean nothing")
        yield block


def list_files(flag: str, root: Path, suffixes: tuple[str, ...], kind: str) -> tuple[list[str], list[Skipped]]:
    """Files of a kind in a folder and its sub-folders, and what is left out; no link is followed.

    Args:
      flag: that names the folder, for messages.
      root: the folder.
      suffixes: ends of names, in lower case.
      kind: what has them.

    Returns:
      Paths relative to it, sorted; files left out, with the reason.

    Raises:
      UserError: no such folder.
    """
    if not root.is_dir():
        raise UserError(f"--{flag}={root}: no such folder")
    skipped: list[Skipped] = []
    names = []
    for name in find_files(root, "", skipped, suffixes, kind):
        problem = "link to a file" if (root / name).is_symlink() else id_problem(name)
        if problem:
            skipped.append(Skipped(name, problem))
        else:
            names.append(name)
    return names, skipped


def decode_blocks(root: Path, names: list[str], spec: ImageSpec, skipped: list[Skipped]) -> Iterator[Images]:
    """Decodes files, some at a time.

    Args:
      root: folder that the names are relative to.
      names: of the files.
      spec: ImageSpec.
      skipped: gets the files that cannot be read; the last of them before the last images are yielded.

    Yields:
      Images, at least one at a time.
    """
    step = max(1, min(4_096, _BLOCK_BYTES // (3 * spec.size**2)))
    kept: list[str] = []
    pixels: list[np.ndarray] = []
    for name in names:
        try:
            image = decode_image(root / name, spec)
        except UnreadableImageError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        if len(kept) == step:
            yield Images(kept, np.stack(pixels))
            kept, pixels = [], []
        kept.append(name)
        pixels.append(image)
    if kept:
        yield Images(kept, np.stack(pixels))
