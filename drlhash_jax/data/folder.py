"""A folder with one sub-folder of images for every class."""

import os
from pathlib import Path

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.data.image_store import image_dataset
from drlhash_jax.data.images import IMAGE_SUFFIXES, Skipped
from drlhash_jax.errors import UserError


def _printable(name: str) -> str:
    """A file name as text that can be written; bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def find_files(
    root: Path, name: str, ignored: list[Skipped], suffixes: tuple[str, ...] = IMAGE_SUFFIXES, kind: str = "an image"
) -> list[str]:
    """Files of a kind in a folder, in its sub-folders too; links are followed to files only.

    Args:
      root: folder that the results are relative to.
      name: of the folder in it; "" for itself.
      ignored: gets what is left out: hidden names, links to folders, files that are not named like the kind.
      suffixes: ends of names, in lower case.
      kind: what has them, for reasons.

    Returns:
      Paths relative to root, sorted.
    """
    found = []
    for folder, folders, files in os.walk(root / name):
        inside = Path(folder).relative_to(root)
        for each in [each for each in folders if each.startswith(".")]:
            folders.remove(each)
            ignored.append(Skipped(_printable(str(inside / each)), "hidden name"))
        for each in [each for each in folders if Path(folder, each).is_symlink()]:
            ignored.append(Skipped(_printable(str(inside / each)), "link to a folder"))
        for file in files:
            path = str(inside / file)
            if file.startswith("."):
                ignored.append(Skipped(_printable(path), "hidden name"))
            elif not file.lower().endswith(suffixes):
                ignored.append(Skipped(_printable(path), f"not named like {kind}"))
            elif path != _printable(path):
                ignored.append(Skipped(_printable(path), "name is not UTF-8"))
            else:
                found.append(path)
    return sorted(found)


def _check_targets(root: Path, names: list[str]) -> None:
    """Refuses links out of the folder and files that are there under two names."""
    resolved_root = root.resolve()
    seen: dict[Path, str] = {}
    for name in names:
        try:
            target = (root / name).resolve()
        except (OSError, RuntimeError) as error:
            raise UserError(f"{root / name} is a link that leads nowhere: {error}") from error
        if not target.is_relative_to(resolved_root):
            raise UserError(f"{root / name} is a link that leads out of {root}; copy the file")
        if target in seen:
            raise UserError(f"{root}: {seen[target]} and {name} are the same file; keep one of them")
        seen[target] = name


def _class_folders(root: Path, ignored: list[Skipped]) -> list[str]:
    """Names of the sub-folders, sorted; what else there is goes to `ignored`."""
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"--config.data.path={root} cannot be read: {error.strerror}") from error
    classes = []
    for entry in entries:
        if entry.name.startswith("."):
            ignored.append(Skipped(_printable(entry.name), "hidden name"))
        elif not entry.is_dir() or entry.is_symlink():
            ignored.append(Skipped(_printable(entry.name), "not a class folder"))
        else:
            classes.append(entry.name)
    if len(classes) < 2:
        raise UserError(
            f"--config.data.path={root}: {len(classes)} sub-folders found; needs one for every class, at least 2"
        )
    return classes


def load_folder(settings: DataSettings) -> Dataset:
    """A folder with one sub-folder of images for every class; classes are numbered in sorted order.

    Hidden names, files that are not named like images and files beside the class folders are left out and listed.

    Raises:
      UserError: no such folder, too few classes, a class without images (unless they are allowed), links that lead
        out of the folder, or one file under two names.
    """
    root = Path(needed_path(settings, "folder", "a folder with one sub-folder of images for every class"))
    if not root.is_dir():
        raise UserError(f"--config.data.path={root}: no such folder")
    ignored: list[Skipped] = []
    classes = _class_folders(root, ignored)
    names, labels = [], []
    for number, name in enumerate(classes):
        found = find_files(root, name, ignored)
        if not found and not settings.allow_empty_class:
            raise UserError(
                f"{root / name} holds no image ({', '.join(IMAGE_SUFFIXES)}); fill or remove the folder, "
                "or set --config.data.allow_empty_class=True"
            )
        names += found
        labels += [number] * len(found)
    _check_targets(root, names)
    shown, numbers = tuple(map(_printable, classes)), np.array(labels, np.int32)
    return image_dataset(root.resolve().name, root, names, numbers, settings, classes=shown, ignored=tuple(ignored))
