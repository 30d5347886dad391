"""States of a stage that is under way, verified when they are read.

``checkpoints/STAGE/POSITION.npz`` holds the arrays; ``POSITION.json``, written after it, holds their SHA-256, and the
configuration that the state belongs to. A finished stage is ``checkpoints/STAGE.npz`` with its SHA-256 in run.json: the
same format, since both are a dictionary of NumPy arrays that process 0 alone reads and writes. orbax, which wrote the
states before, brought nothing to this: a second format, files that had to be hashed from outside because it reads a
flipped bit back as if nothing were wrong, a second of import, and on a full disk a traceback from each of its threads.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays, sha256_of, write_arrays, write_json
from drlhash_jax.runs.stored_config import differing_fields

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


def _to_array(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf)
    # bfloat16 and its kin have no name in NumPy's format: their bits are stored.
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def to_arrays(state: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree as this process's NumPy arrays, named by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): _to_array(leaf) for path, leaf in leaves}


def from_arrays(state: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A pytree like `state` with the leaves that `to_arrays` wrote.

    Raises:
      UserError: they are the leaves of something else.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    shapes = {name: np.shape(leaf) for name, leaf in named.items()}
    found = {name: np.shape(array) for name, array in arrays.items()}
    wrong = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
    if wrong:
        raise UserError(f"a saved state does not fit this version ({', '.join(wrong[:5])}): remove checkpoints/")
    is_stored_as_bits = lambda leaf: np.dtype(leaf.dtype).kind == "V"
    return treedef.unflatten(
        arrays[name].view(leaf.dtype) if is_stored_as_bits(leaf) else np.asarray(arrays[name], leaf.dtype)
        for name, leaf in named.items()
    )


class StageCheckpoints:
    """The saved states of one stage; for process 0."""

    def __init__(self, folder: Path, config: dict):
        """Nothing is read or written yet.

        Args:
          folder: of the stage.
          config: flat, field -> JSON value, digests of the inputs among them; a state of another config is refused.
        """
        self._folder, self._config = folder, config

    def save(self, position: int, state: Any, facts: dict) -> None:
        """Saves a state, and drops all but the newest two.

        Args:
          position: steps that it has done.
          state: pytree of arrays.
          facts: JSON values to keep with it.

        Raises:
          UserError: it cannot be written; what was saved before is still there.
        """
        path = self._arrays_file(position)
        write_arrays(path, to_arrays(state))
        content = {"position": position, "config": self._config, "facts": facts, "sha256": sha256_of(path)}
        write_json(self._manifest(position), content)
        # A damaged state beyond this one was passed over, and is not one of the two.
        self._drop_all_but([each for each in self._positions() if each <= position][:_KEPT])

    def newest(self) -> SavedState | None:
        """The newest state that is whole; others are named in a warning and passed over.

        Raises:
          UserError: it belongs to another configuration.
        """
        for position in self._positions():
            path = self._arrays_file(position)
            manifest = self._read_manifest(position)
            if manifest is None:
                logging.warning("%s was not written to its end: passed over", path)
                continue
            if differing := differing_fields(manifest["config"], self._config):
                raise UserError(f"{path} is of another config ({differing}): remove it, or give another --workdir")
            if sha256_of(path) != manifest["sha256"]:
                logging.warning("%s is damaged: passed over", path)
                continue
            return SavedState(position, read_arrays(path), manifest["facts"])
        return None

    def clear(self) -> None:
        """Removes all states of the stage."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _arrays_file(self, position: int) -> Path:
        return self._folder / f"{position}.npz"

    def _manifest(self, position: int) -> Path:
        return self._folder / f"{position}.json"

    def _positions(self) -> list[int]:
        """Steps of everything that looks like a state, newest first."""
        files = [path for path in self._folder.glob("*.npz") if path.is_file() and path.stem.isdecimal()]
        return sorted((int(path.stem) for path in files), reverse=True)

    def _read_manifest(self, position: int) -> dict | None:
        try:
            manifest = json.loads(self._manifest(position).read_text())
            return manifest if {"config", "facts", "sha256"} <= manifest.keys() else None
        except (OSError, ValueError, AttributeError):
            return None

    def _drop_all_but(self, positions: list[int]) -> None:
        kept = {path.name for each in positions for path in (self._arrays_file(each), self._manifest(each))}
        for entry in self._folder.iterdir():
            if entry.name in kept:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
