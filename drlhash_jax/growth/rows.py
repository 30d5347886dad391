"""Labelled rows that are brought: an array with labels, or a folder of images with a sub-folder for each class."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles import read_id_lines
from drlhash_jax.codes import as_labels
from drlhash_jax.data import IMAGE_SUFFIXES, Skipped, read_array
from drlhash_jax.errors import UserError
from drlhash_jax.serving.inputs import array_blocks, decode_blocks, list_files
from drlhash_jax.serving.models import ServedModel, image_spec


class Brought(NamedTuple):
    """Labelled rows.

    Attributes:
      inputs: ``[n, ...]`` as the model reads them.
      labels: class numbers int32 ``[n]``, or multi-hot uint8 ``[n, C]``.
      classes: names of the classes, of a folder; empty for numbers.
      names: of the files, n of them; empty for an array.
      skipped: files that were left out.
    """

    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def _read_folder(served: ServedModel, root: Path, flag: str) -> Brought:
    try:
        spec = image_spec(served)
        found, skipped = list_files(flag, root, IMAGE_SUFFIXES, "an image")
    except UserError as error:
        raise UserError(str(error).replace("--images", f"--{flag}").replace("by --embeddings", "in files")) from error
    if loose := [name for name in found if "/" not in name]:
        raise UserError(f"--{flag}={root}: {loose[0]} is in no sub-folder; the names of these are the classes")
    pieces = list(decode_blocks(root, found, spec, skipped))
    names = tuple(name for piece in pieces for name in piece.names)
    folders = sorted({entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")})
    of_rows = [name.split("/")[0] for name in names]
    if empty := [folder for folder in folders if folder not in set(of_rows)]:
        raise UserError(f"--{flag}={root}: no image of class {empty[0]} can be read; fill or remove its folder")
    if not names:
        raise UserError(f"--{flag}={root} has no sub-folder of images")
    labels = np.array([folders.index(name) for name in of_rows], np.int32)
    pixels = np.concatenate([piece.pixels for piece in pieces])
    return Brought(pixels, labels, tuple(folders), names, tuple(skipped))


def _read_flag(flag: str, address: str) -> np.ndarray:
    try:
        return read_array(address)
    except UserError as error:
        raise UserError(f"--{flag}: {error}") from error


def read_rows(served: ServedModel, inputs: str, labels: str, flag: str) -> Brought:
    """Reads labelled rows.

    Args:
      served: the model that is to read them.
      inputs: a folder, or the address of an array.
      labels: address of the labels of an array; "" for a folder.
      flag: that names the inputs; "labels" and "old_labels" name the labels.

    Raises:
      UserError: files that cannot be read, a class without images, inputs of another kind or width than the model's, or
        labels that do not fit them.
    """
    if not labels:
        return _read_folder(served, Path(inputs), flag)
    label_flag = "old_labels" if flag == "old" else "labels"
    rows, given = _read_flag(flag, inputs), _read_flag(label_flag, labels)
    values = as_labels(given, f"--{label_flag}={labels}")
    shape, wanted = rows.shape[1:], served.model.input_shape
    if not rows.ndim or shape != wanted:
        raise UserError(f"--{flag}={inputs} has the shape {list(rows.shape)}; {served.folder} reads {['N', *wanted]}")
    if len(values) != len(rows) or not len(rows):
        raise UserError(f"--{flag}={inputs} has {len(rows)} rows, --{label_flag}={labels} {len(values)}")
    if served.model.spec.kind == "images" and rows.dtype != np.uint8:
        raise UserError(f"--{flag}={inputs} holds {rows.dtype}; {served.folder} reads images of uint8")
    return Brought(np.concatenate(list(array_blocks(rows, inputs))), values)


def row_ids(brought: Brought, ids: str | None, first: int, present: frozenset[str], bundle: Path) -> list[str]:
    """Ids of new rows: names of files, lines of a file, or numbers that go on where those of the bundle end.

    Args:
      brought: the rows.
      ids: file of one id a line; None for none.
      first: rows of the bundle.
      present: ids of these.
      bundle: its directory, for messages.

    Raises:
      UserError: another number of lines than rows, or an id that the bundle has.
    """
    if ids:
        names = read_id_lines(Path(ids))
        if len(names) != len(brought.labels):
            raise UserError(f"--ids={ids} has {len(names)} lines, and there are {len(brought.labels)} new rows")
    else:
        names = list(brought.names) or [str(first + row) for row in range(len(brought.labels))]
    if there := next((name for name in names if name in present), None):
        raise UserError(f"{bundle} has a row with the id {there} already: give new rows other ids")
    return names
