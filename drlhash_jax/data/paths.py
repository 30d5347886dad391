"""Paths that people give: refused in one line where no file could have that name, or where reading would never end."""

import stat
from pathlib import Path

from drlhash_jax.errors import UserError

# What Linux takes, in bytes.
_LONGEST_PATH = 4_095
_LONGEST_NAME = 255
_SHOWN = 60


def path_problem(path: str) -> str:
    """Why no file can have this path; "" if one can."""
    try:
        content = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "it holds half of a character (a lone surrogate)"
    if b"\0" in content:
        return "it holds a NUL character"
    longest = max(map(len, content.replace(b"\\", b"/").split(b"/")))
    if len(content) > _LONGEST_PATH or longest > _LONGEST_NAME:
        return f"it has {len(path)} characters, more than a file system takes"
    return ""


def shown_path(path: str) -> str:
    """A path for a message: quoted, and cut where it is long."""
    return repr(path if len(path) <= 2 * _SHOWN else f"{path[:_SHOWN]}...{path[-_SHOWN:]}")


def regular_file(path: str | Path) -> Path:
    """The path of a file that can be read to its end: no folder, pipe or device.

    Raises:
      UserError: there is no such file, or it is something else.
    """
    if problem := path_problem(str(path)):
        raise UserError(f"{shown_path(str(path))} cannot be the path of a file: {problem}")
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UserError(f"{path} is {kind}: give a regular file")
    return Path(path)
