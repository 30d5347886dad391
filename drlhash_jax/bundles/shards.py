"""Bundles made in n parts by n processes, on one machine or many, and joined.

Every shard is a bundle of its own, ``NAME-00003-of-00016.drlh`` beside ``NAME.drlh``: no two processes write one file,
so that nothing depends on the locks of a shared file system. It has its name only once it is whole. Shards are
consecutive rows in the order of the whole, so that joined they are the bundle that one process would have made.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles.bundle import Bundle, open_bundle
from drlhash_jax.bundles.manifest import Manifest
from drlhash_jax.bundles.verify import check_bundle
from drlhash_jax.bundles.write import append_segment, create_bundle, skipped_lines, sync_folder
from drlhash_jax.errors import UserError
from drlhash_jax.files import write_error

_MOST_SHARDS = 99_999
# In the facts about the model: what a shard is of.
_FACT = "shard"


class Shard(NamedTuple):
    """One of n parts.

    Attributes:
      number: from 1.
      of: n.
    """

    number: int
    of: int

    def rows(self, num_rows: int) -> slice:
        """Its rows of the whole; parts differ by one row at most."""
        return slice((self.number - 1) * num_rows // self.of, self.number * num_rows // self.of)

    def path(self, bundle: str | Path) -> Path:
        """Its own bundle, beside the one that it is a part of."""
        bundle = Path(bundle)
        return bundle.with_name(f"{bundle.stem}-{self.number:05d}-of-{self.of:05d}{bundle.suffix}")

    def facts(self, num_rows: int) -> dict:
        """What its bundle remembers beside the facts about the model, by which `join_shards` knows parts of one whole.

        Args:
          num_rows: rows, or files, of the whole.
        """
        return {_FACT: {"number": self.number, "of": self.of, "rows": num_rows}}


def parse_shard(text: str) -> Shard:
    """A shard of "i/n".

    Raises:
      UserError: it is not two numbers with 1 <= i <= n.
    """
    match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard={text}: give i/n, two numbers with 1 <= i <= n <= {_MOST_SHARDS}, such as 3/16")
    return Shard(int(match[1]), int(match[2]))


@contextlib.contextmanager
def whole_bundle(path: Path) -> Iterator[Path]:
    """Gives a place for a bundle, which gets its name when the context ends well and otherwise is removed.

    Where another process gives the same name first, its bundle stays: the two have the same rows.

    Raises:
      UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
            temporary = Path(folder, path.name)
            yield temporary
            os.rename(temporary, path)
            sync_folder(path.parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise write_error(path, error) from error


def _siblings(bundle: Path, pattern: str) -> dict[Path, re.Match]:
    """What lies beside a bundle under a name that a pattern describes, with {} for the digits of a shard."""
    digits = re.escape(bundle.stem) + r"-([0-9]{5})-of-([0-9]{5})" + re.escape(bundle.suffix)
    if not bundle.parent.is_dir():
        return {}
    found = {entry: re.fullmatch(pattern.format(digits), entry.name) for entry in sorted(bundle.parent.iterdir())}
    return {entry: match for entry, match in found.items() if match}


def find_shards(bundle: str | Path) -> dict[Path, Shard]:
    """Shards that lie beside a bundle, in their order."""
    return {path: Shard(int(match[1]), int(match[2])) for path, match in _siblings(Path(bundle), "{}").items()}


def _check_complete(bundle: Path, shards: dict[Path, Shard]) -> None:
    numbers = sorted({shard.of for shard in shards.values()})
    if len(numbers) > 1:
        raise UserError(f"{bundle} has shards of {numbers[0]} and of {numbers[1]} beside it: remove those of one kind")
    whole = [Shard(number + 1, numbers[0]) for number in range(numbers[0])]
    if missing := [shard for shard in whole if shard.path(bundle) not in shards]:
        first = "{}/{}".format(*missing[0])
        raise UserError(f"{len(missing)} of {numbers[0]} shards of {bundle} are not there: run encode --shard={first}")


def _without_rows(manifest: Manifest) -> tuple[Manifest, int]:
    """What all shards of a bundle have in common: the manifest of the whole without rows, and how many were divided."""
    facts = dict(manifest.model or {})
    rows = facts.pop(_FACT, {}).get("rows", -1)
    return Manifest(manifest.num_bits, manifest.role, facts, manifest.has_logits), rows


def _open_alike(shards: dict[Path, Shard]) -> list[Bundle]:
    """The shards, sound and made in one way of one input."""
    opened = []
    for path in shards:
        check_bundle(path)
        opened.append(open_bundle(path))
        if _without_rows(opened[-1].manifest) != _without_rows(opened[0].manifest):
            raise UserError(
                f"{path} and {opened[0].path} differ in model, flags or number of inputs: remove the wrong one and run "
                "its encode --shard again"
            )
    return opened


def join_shards(path: str | Path) -> int:
    """Makes a bundle of its shards, as one segment; they stay.

    Args:
      path: of the bundle; must not exist.

    Returns:
      Number of its rows.

    Raises:
      UserError: a shard is missing or damaged, they do not belong together, or the bundle cannot be written.
    """
    bundle = Path(path)
    shards = find_shards(bundle)
    _check_complete(bundle, shards)
    opened = _open_alike(shards)
    manifest, _ = _without_rows(opened[0].manifest)
    ids = [name for shard in opened for name in shard.ids()]
    skipped = b"".join(skipped_lines(shard.path, shard.manifest) for shard in opened)
    logits = None
    if manifest.has_logits:
        logits = np.concatenate([shard.logits_of(np.arange(len(shard.codes))) for shard in opened])
    with whole_bundle(bundle) as temporary:
        create_bundle(temporary, manifest.num_bits, manifest.role, manifest.model, manifest.has_logits)
        if ids:
            append_segment(temporary, np.concatenate([shard.codes for shard in opened]), ids, skipped, logits)
    # What killed processes left of shards that others have finished since.
    for left in _siblings(bundle, r"\.{}\..*\.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    return len(ids)
