"""Bundles filled with the codes of a saved model."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles import Bundle, Shard, append_rows, create_bundle, open_bundle, read_id_lines, whole_bundle
from drlhash_jax.data import IMAGE_SUFFIXES, Skipped
from drlhash_jax.errors import UserError
from drlhash_jax.runs import real_codes
from drlhash_jax.serving.inputs import array_blocks, decode_blocks, list_files, read_inputs
from drlhash_jax.serving.models import ServedModel, image_spec, load, open_model_of

# Called with the rows done and their number, at the start and after every piece.
OnRows = Callable[[int, int], None]
_RATE = "frames_per_second"


class Target(NamedTuple):
    """A bundle that is filled.

    Attributes:
      path: it.
      served: the model that makes its codes.
      role: "query" or "database" where the model codes the two apart; None otherwise.
      ids: of the rows that are there; None for a bundle that is to be made.
      logits: whether rows keep their logits.
      shard: the part of the inputs that it gets; None for all of them.
      frames_per_second: of a bundle of videos; None for others.
    """

    path: Path
    served: ServedModel
    role: str | None
    ids: frozenset[str] | None
    logits: bool
    shard: Shard | None = None
    frames_per_second: float | None = None

    def facts(self) -> dict:
        """What the bundle remembers of its model and its rows: JSON values."""
        rate = {} if self.frames_per_second is None else {_RATE: self.frames_per_second}
        return self.served.facts() | rate

    def rows(self, num_rows: int) -> slice:
        """Its rows of the inputs."""
        return self.shard.rows(num_rows) if self.shard else slice(0, num_rows)


class Rows(NamedTuple):
    """Rows of one segment.

    Attributes:
      packed: codes uint8 ``[n, B]``.
      logits: float16 ``[n, K]``; None where they are not kept.
      ids: n of them.
      skipped: files that were left out.
    """

    packed: np.ndarray
    logits: np.ndarray | None
    ids: list[str]
    skipped: list[Skipped]


class Filled(NamedTuple):
    """What was added to a bundle.

    Attributes:
      added: rows.
      present: files that were there already, by their names.
      skipped: files that were left out.
    """

    added: int
    present: int = 0
    skipped: tuple[Skipped, ...] = ()


def served_rate(bundle: Bundle) -> float | None:
    """Frames a second of a bundle of videos; None for another one.

    Raises:
      UserError: it is damaged.
    """
    rate = (bundle.manifest.model or {}).get(_RATE)
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate < 1_000):
        raise UserError(f"{bundle.path} is damaged: {_RATE} is {rate!r}")
    return rate


def new_target(
    path: str | Path,
    model: str | Path,
    bits: int | None = None,
    selector: str | None = None,
    role: str | None = None,
    logits: bool = False,
    shard: Shard | None = None,
) -> Target:
    """A bundle to be made.

    Args:
      path: of the bundle; must not exist.
      model: a saved model, or a finished run.
      bits: length of a stored selection; None, with selector None, for all bits.
      selector: who made it.
      role: "query" or "database"; needed where the model codes the two apart.
      logits: whether the rows' logits are kept beside their codes, as float16.
      shard: for a bundle of its own beside `path`, which gets a part of the inputs; None for all of them.

    Raises:
      UserError: something is there, no model, no such selection, or no role where one is needed.
    """
    if os.path.lexists(path):
        raise UserError(f"--bundle={path} is there already: give --append to add to a bundle, or another name")
    served = load(model, bits, selector)
    if served.two_functions and role is None:
        raise UserError(
            f"{served.folder} codes queries and the database apart: give --role=database for a bundle to search in"
        )
    path = shard.path(path) if shard else Path(path)
    return Target(path, served, role if served.two_functions else None, None, logits, shard)


def existing_target(path: str | Path, model: str | Path) -> Target:
    """A bundle that is added to, with the bits and the role that it has.

    Raises:
      UserError: no bundle, or not its model.
    """
    bundle = open_bundle(path)
    manifest, served = bundle.manifest, open_model_of(bundle, model)
    settled = manifest.role, frozenset(bundle.ids()), manifest.has_logits
    return Target(Path(path), served, *settled, frames_per_second=served_rate(bundle))


def code_rows(target: Target, inputs: np.ndarray, ids: list[str], skipped: list[Skipped]) -> Rows:
    """Rows of inputs ``[n, ...]``."""
    served = target.served
    real = real_codes(served.model, inputs, served.bits, served.selector, role=target.role)
    largest = np.finfo(np.float16).max
    logits = np.clip(real, -largest, largest).astype(np.float16) if target.logits else None
    return Rows(np.packbits(real >= 0, axis=1), logits, ids, skipped)


def join_rows(rows: list[Rows]) -> Rows:
    """Pieces of one segment as one."""
    logits = None if rows[0].logits is None else np.concatenate([each.logits for each in rows])
    ids, skipped = (list(itertools.chain(*parts)) for parts in zip(*((each.ids, each.skipped) for each in rows)))
    return Rows(np.concatenate([each.packed for each in rows]), logits, ids, skipped)


def _append(path: Path, segments: Iterator[Rows]) -> int:
    """Adds segments to a bundle; returns the number of rows."""
    added = 0
    for rows in segments:
        append_rows(path, rows.packed, rows.ids, [each._asdict() for each in rows.skipped], rows.logits)
        added += len(rows.ids)
    return added


def fill(target: Target, segments: Iterator[Rows], num_inputs: int) -> int:
    """Adds segments to a bundle, which is made first, so that a place that cannot be written is known at once.

    Args:
      target: Target.
      segments: rows to add.
      num_inputs: rows or files that shards are parts of.

    Returns:
      Number of rows. A new bundle that gets none is removed again, whatever was raised. A shard has its name only when
      it is whole, and may be of no rows.
    """
    if target.ids is not None:
        return _append(target.path, segments)
    shard = target.shard
    create = lambda path, facts: create_bundle(path, target.served.num_bits, target.role, facts, target.logits)
    if shard:
        with whole_bundle(target.path) as temporary:
            create(temporary, target.facts() | shard.facts(num_inputs))
            return _append(temporary, segments)
    create(target.path, target.facts())
    try:
        return _append(target.path, segments)
    finally:
        if not open_bundle(target.path).manifest.segments:
            shutil.rmtree(target.path, ignore_errors=True)


def _read_ids(target: Target, ids_path: Path | None, num_rows: int) -> list[str]:
    if ids_path is not None:
        ids = read_id_lines(ids_path)
        if len(ids) != num_rows:
            raise UserError(
                f"--ids={ids_path} has {len(ids)} lines, the embeddings {num_rows} rows: they go row by row"
            )
        return ids
    if target.ids:
        raise UserError("--append needs --ids: row numbers would be those of the rows that are there")
    return [str(row) for row in range(num_rows)]


def encode_array(
    target: Target, address: str, ids_path: Path | None = None, on_rows: OnRows = lambda done, total: None
) -> Filled:
    """Codes the rows of an array into a bundle, as one segment.

    Args:
      target: Target.
      address: FILE.npy, which is read piece by piece, FILE.npz:KEY or FILE.safetensors:KEY.
      ids_path: file of one id a line; None for row numbers.
      on_rows: see `OnRows`.

    Returns:
      Filled.

    Raises:
      UserError: inputs or ids that do not fit; the bundle is as it was, or absent.
    """
    inputs = read_inputs("embeddings", address)
    ids = _read_ids(target, ids_path, len(inputs))
    num_inputs, part = len(inputs), target.rows(len(inputs))
    inputs, ids = inputs[part], ids[part]

    def segments() -> Iterator[Rows]:
        rows, done = [], 0
        on_rows(0, len(inputs))
        for block in array_blocks(inputs, address, part.start):
            rows.append(code_rows(target, block, ids[done : done + len(block)], []))
            done += len(block)
            on_rows(done, len(inputs))
        if rows:
            yield join_rows(rows)

    return Filled(fill(target, segments(), num_inputs))


def encode_folder(target: Target, root: Path, on_rows: OnRows = lambda done, total: None) -> Filled:
    """Codes the image files of a folder and its sub-folders into a bundle, a segment for some hundreds or thousands.

    The id of a row is the file's path in the folder. Files whose ids are there already are not coded again, so that the
    same call goes on after a kill.

    Args:
      target: Target.
      root: the folder.
      on_rows: see `OnRows`; of files.

    Returns:
      Filled.

    Raises:
      UserError: no folder, a model that reads no image files, or no image can be read.
    """
    spec = image_spec(target.served)
    names, skipped = list_files("images", root, IMAGE_SUFFIXES, "an image")
    if not names:
        raise UserError(f"--images={root} holds no image")
    num_inputs, part = len(names), target.rows(len(names))
    names = names[part]
    if target.shard and target.shard.number < target.shard.of:
        # The last shard lists what is no image; it has files however many shards there are.
        skipped = []
    new = [name for name in names if name not in (target.ids or ())]

    def segments() -> Iterator[Rows]:
        done = noted = 0
        on_rows(0, len(new))
        for images in decode_blocks(root, new, spec, skipped):
            yield code_rows(target, images.pixels, images.names, skipped[noted:])
            done, noted = done + len(images.names), len(skipped)
            on_rows(done, len(new))
        if target.ids is None and new and not done:
            last = skipped[-1]
            raise UserError(
                f"--images={root}: none of {len(new)} files can be read, the last is {last.path}: {last.reason}"
            )

    added = fill(target, segments(), num_inputs)
    return Filled(added, len(names) - len(new), tuple(skipped))
