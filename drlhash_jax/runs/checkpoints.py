"""States of a stage that is under way, saved by orbax and verified when they are read.

``checkpoints/STAGE/POSITION/`` is what orbax committed; ``checkpoints/STAGE/POSITION.json``, written after it, holds
the SHA-256 of each of its files, since orbax itself reads a flipped bit back as if nothing were wrong, and the
configuration that the state belongs to.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from drlhash_jax.files import sha256_of, write_json
from drlhash_jax.runs.stored_config import differing_fields
from drlhash_jax.errors import UserError

_KEPT = 2


class SavedState(NamedTuple):
    """A verified state.

    Attributes:
      position: steps that it has done.
      arrays: name -> array, see `to_arrays`.
      facts: what was saved with it.
    """

    position: int
    arrays: dict[str, np.ndarray]
    facts: dict


def to_arrays(state: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree as this process's NumPy arrays, named by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    local = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(local(x)) for path, x in leaves}


def from_arrays(state: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A pytree like `state` with the leaves that `to_arrays` wrote.

    Raises:
      UserError: they are the leaves of something else.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]
    shapes = {name: np.shape(leaf) for name, (_, leaf) in zip(names, leaves, strict=True)}
    found = {name: np.shape(array) for name, array in arrays.items()}
    wrong = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if wrong:
        raise UserError(f"a saved state does not fit this version ({', '.join(wrong[:5])}): remove checkpoints/")
    return treedef.unflatten(
        [np.asarray(arrays[name], leaf.dtype) for name, (_, leaf) in zip(names, leaves, strict=True)]
    )


def _checkpointer():
    # Takes a second to import, and many runs end before they save anything.
    import orbax.checkpoint as ocp

    # Process 0 alone reads and writes; it waits for nobody.
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="drlhash")
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(), multiprocessing_options=alone)


class StageCheckpoints:
    """The saved states of one stage; for process 0."""

    def __init__(self, folder: Path, config: dict):
        """Nothing is read or written yet.

        Args:
          folder: of the stage.
          config: flat, field -> JSON value; a state of another config is refused.
        """
        self._folder, self._config = folder.absolute(), config

    def save(self, position: int, state: Any, facts: dict) -> None:
        """Saves a state, and drops all but the newest two.

        Args:
          position: steps that it has done.
          state: pytree of arrays.
          facts: JSON values to keep with it.

        Raises:
          UserError: it cannot be written; what was saved before is still there.
        """
        path, manifest = self._folder / str(position), self._manifest(position)
        try:
            manifest.unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            _checkpointer().save(path, to_arrays(state))
            digests = {name: sha256_of(path / name) for name in _files(path)}
            write_json(manifest, {"position": position, "config": self._config, "facts": facts, "sha256": digests})
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be written ({' '.join(str(error).split())[:200]})") from error
        # A damaged state beyond this one was passed over, and is not one of the two.
        self._drop_all_but([each for each in self._positions() if each <= position][:_KEPT])

    def newest(self) -> SavedState | None:
        """The newest state that is whole; others are named in a warning and passed over.

        Raises:
          UserError: it belongs to another configuration.
        """
        for position in self._positions():
            path = self._folder / str(position)
            manifest = self._read_manifest(position)
            if manifest is None:
                logging.warning("%s was not written to its end: passed over", path)
                continue
            if differing := differing_fields(manifest["config"], self._config):
                raise UserError(f"{path} is of another config ({differing}): remove it, or give another --workdir")
            if damaged := self._damaged(path, manifest["sha256"]):
                logging.warning("%s is damaged (%s): passed over", path, damaged)
                continue
            return SavedState(position, _checkpointer().restore(path), manifest["facts"])
        return None

    def clear(self) -> None:
        """Removes all states of the stage."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _manifest(self, position: int) -> Path:
        return self._folder / f"{position}.json"

    def _positions(self) -> list[int]:
        """Steps of everything that looks like a state, newest first."""
        if not self._folder.is_dir():
            return []
        names = (entry.name for entry in self._folder.iterdir() if entry.is_dir())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _read_manifest(self, position: int) -> dict | None:
        try:
            manifest = json.loads(self._manifest(position).read_text())
            return manifest if {"config", "facts", "sha256"} <= manifest.keys() else None
        except (OSError, ValueError, AttributeError):
            return None

    def _damaged(self, path: Path, digests: dict[str, str]) -> str | None:
        """Name of a file that is not as it was written, or None."""
        found = {name: sha256_of(path / name) for name in _files(path)}
        differing = sorted(name for name in found.keys() | digests.keys() if found.get(name) != digests.get(name))
        return differing[0] if differing else None

    def _drop_all_but(self, positions: list[int]) -> None:
        kept = {str(position) for position in positions} | {f"{position}.json" for position in positions}
        for entry in self._folder.iterdir():
            if entry.name in kept:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
