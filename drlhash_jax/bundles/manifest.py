"""The manifest of a bundle: what it says, checked field by field, and where its files are.

No name in it is ever made part of a path: directories follow from a kind and a number, files from a fixed list. Its
last field is the SHA-256 of everything before it, and its bytes are those that `write_manifest` would write, so that no
bit of it can change unnoticed.
"""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import NamedTuple

from drlhash_jax.errors import UserError
from drlhash_jax.files import json_text, write_json

FORMAT = 1
MANIFEST = "manifest.json"
ROLES = ("query", "database")
# Files of a segment, by whether every segment has them; and the one file of a list of removed rows.
SEGMENT_FILES = {
    "codes.npy": True,
    "ids.npy": True,
    "id_offsets.npy": True,
    "logits.npy": False,
    "skipped.jsonl": False,
}
REMOVED_FILES = {"rows.npy": True}
_FIELDS = ("format", "bits", "bit_order", "padding", "role", "model", "logits", "segments", "removed", "sha256")
_MAX_BYTES = 16 * 2**20
_MAX_BITS = 65_536
_MAX_NUMBER = 10**9
_MAX_ROWS = 2**48


class StoredFile(NamedTuple):
    """A file as it was written.

    Attributes:
      size: in bytes.
      sha256: hexadecimal digits.
    """

    size: int
    sha256: str


class Part(NamedTuple):
    """A directory of the bundle that is never changed once it is there: a segment, or a list of removed rows.

    Attributes:
      kind: "segment" or "removed".
      number: no two parts of a bundle have the same.
      rows: that it holds.
      files: name -> StoredFile.
    """

    kind: str
    number: int
    rows: int
    files: dict[str, StoredFile]

    @property
    def folder(self) -> str:
        """Name of its directory."""
        return f"{self.kind}-{self.number:06d}"


class Manifest(NamedTuple):
    """What a bundle says about itself.

    Attributes:
      num_bits: K.
      role: "query" or "database" where a model codes the two apart; None otherwise.
      model: facts about the model that made the codes, JSON values, "sha256" among them; None if it is not known.
      has_logits: whether all rows have their logits beside their codes; otherwise none has.
      segments: parts that hold rows, in their order.
      removed: the part that lists the rows that no longer count; None if there are none.
    """

    num_bits: int
    role: str | None = None
    model: dict | None = None
    has_logits: bool = False
    segments: tuple[Part, ...] = ()
    removed: Part | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts."""
        return self.segments + ((self.removed,) if self.removed else ())

    @property
    def next_number(self) -> int:
        """A number that no part has."""
        return 1 + max((part.number for part in self.parts), default=0)

    @property
    def stored_rows(self) -> int:
        """Rows of all segments, removed ones among them."""
        return sum(part.rows for part in self.segments)


def _describe_part(part: Part) -> dict:
    files = {name: {"bytes": file.size, "sha256": file.sha256} for name, file in part.files.items()}
    return {"number": part.number, "rows": part.rows, "files": files}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces a bundle's manifest, atomically.

    Raises:
      UserError: it cannot be written.
    """
    value = {
        "format": FORMAT,
        "bits": manifest.num_bits,
        "bit_order": "msb",
        "padding": "zero",
        "role": manifest.role,
        "model": manifest.model,
        "logits": manifest.has_logits,
        "segments": [_describe_part(part) for part in manifest.segments],
        "removed": _describe_part(manifest.removed) if manifest.removed else None,
    }
    write_json(folder / MANIFEST, value | {"sha256": hashlib.sha256(json_text(value)).hexdigest()})


def _whole(value: object, least: int, most: int, what: str) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} is {str(value)[:40]!r}, not a whole number from {least} to {most}")
    return value


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _read_part(kind: str, described: dict, known: dict[str, bool]) -> Part:
    files = {}
    for name, file in described["files"].items():
        if name not in known:
            raise ValueError(f"a {kind} has no file called {str(name)[:60]!r}")
        if not _is_digest(file["sha256"]):
            raise ValueError(f"the sha256 of {name} is no digest")
        files[name] = StoredFile(_whole(file["bytes"], 0, 2**62, f"bytes of {name}"), file["sha256"])
    if missing := [name for name, needed in known.items() if needed and name not in files]:
        raise ValueError(f"a {kind} is listed without {missing[0]}")
    number = _whole(described["number"], 1, _MAX_NUMBER, "number")
    return Part(kind, number, _whole(described["rows"], 1, _MAX_ROWS, "rows"), files)


def _read_value(value: object) -> Manifest:
    """Raises ValueError, KeyError, TypeError or AttributeError on what is no manifest."""
    if tuple(value) != _FIELDS:
        raise ValueError(f"its fields are {', '.join(map(str, value))[:200]}")
    if value["format"] != FORMAT:
        raise ValueError(f"its format is {str(value['format'])[:20]}, this version reads {FORMAT}")
    if (value["bit_order"], value["padding"]) != ("msb", "zero"):
        raise ValueError("bit_order must be msb, and padding zero")
    role, model = value["role"], value["model"]
    if role is not None and role not in ROLES:
        raise ValueError(f"role is {str(role)[:40]!r}, not one of {', '.join(ROLES)}")
    if model is not None and not _is_digest(model["sha256"]):
        raise ValueError("model has no sha256")
    segments = tuple(_read_part("segment", each, SEGMENT_FILES) for each in value["segments"])
    removed = None if value["removed"] is None else _read_part("removed", value["removed"], REMOVED_FILES)
    manifest = Manifest(_whole(value["bits"], 1, _MAX_BITS, "bits"), role, model, value["logits"], segments, removed)
    numbers = [part.number for part in manifest.parts]
    if len(set(numbers)) != len(numbers):
        raise ValueError("two of its parts have the same number")
    if type(manifest.has_logits) is not bool:
        raise ValueError(f"logits is {str(manifest.has_logits)[:40]!r}, not true or false")
    if any(("logits.npy" in part.files) != manifest.has_logits for part in segments):
        raise ValueError("logits does not say which files the segments have")
    return manifest


def _read_bytes(path: Path) -> bytes:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is a link, a folder or a pipe: a bundle holds plain files")
    if status.st_size > _MAX_BYTES:
        raise UserError(f"{path} has {status.st_size} bytes: no manifest is larger than {_MAX_BYTES}")
    return path.read_bytes()


def read_manifest(folder: Path) -> Manifest:
    """Reads a bundle's manifest.

    Args:
      folder: the bundle.

    Raises:
      UserError: no bundle, or a manifest that is damaged or was written by something else.
    """
    path = folder / MANIFEST
    try:
        content = _read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{folder} is not a bundle of codes: it has no {MANIFEST}") from error
    except (OSError, ValueError) as error:
        # ValueError: a name that no file can have.
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        value = json.loads(content)
        manifest = _read_value(value)
        digest = value.pop("sha256")
        written = json_text(value | {"sha256": digest})
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is damaged, or no manifest: {' '.join(reason.split())[:300]}") from error
    if hashlib.sha256(json_text(value)).hexdigest() != digest or written != content:
        raise UserError(f"{path} is damaged or was edited: its last field is not the SHA-256 of the others")
    return manifest


def locate(folder: Path, part: Part, name: str) -> Path:
    """The path of a part's file, once it is sure to be a plain file inside the bundle and as long as it was.

    Args:
      folder: the bundle.
      part: Part.
      name: of one of its files.

    Raises:
      UserError: it is missing, something else, or of another length.
    """
    path = folder / part.folder / name
    try:
        if not stat.S_ISDIR(os.lstat(path.parent).st_mode):
            raise UserError(f"{path.parent} is not a folder: the bundle is damaged")
        status = os.lstat(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; the bundle is damaged") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is a link, a folder or a pipe: a bundle holds plain files")
    if status.st_size != part.files[name].size:
        raise UserError(f"{path} has {status.st_size} bytes, {MANIFEST} says {part.files[name].size}: it is damaged")
    return path
