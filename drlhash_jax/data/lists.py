"""Files that list images with their labels: the text lists of deep-hashing papers, CSV, JSON lines.

Paths in a list are relative to the list's folder and stay inside it.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from drlhash_jax.data.dataset import Dataset, DataSettings, needed_path
from drlhash_jax.data.image_store import image_dataset
from drlhash_jax.data.paths import path_problem, regular_file, shown_path
from drlhash_jax.errors import UserError

PARTS = ("test", "train", "database")
# The whole numbers that end a line, backwards: forwards, a pattern tries every start and takes minutes for long lines.
_NUMBERS_BACKWARDS = re.compile(r"\s*(?:\d+-?\s+)+")
# Longer ones are words: Python does not read numbers of thousands of digits.
_MAX_DIGITS = 18


class LabelledFiles(NamedTuple):
    """What a list says.

    Attributes:
      names: of the files, relative to the list's folder.
      labels: int32 ``[N]`` or uint8 multi-hot ``[N, C]``.
      classes: names of the classes, where the list tells them.
    """

    names: list[str]
    labels: np.ndarray
    classes: tuple[str, ...] = ()


def read_text(path: Path) -> str:
    """A whole text file in UTF-8, without a byte order mark.

    Raises:
      UserError: not there, not a regular file, or not text.
    """
    try:
        return regular_file(path).read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: byte {error.start}") from error


def inner_name(name: str, where: str) -> str:
    """A path in a list, in one spelling ("./a//b.jpg" is "a/b.jpg").

    Raises:
      UserError: it leads out of the folder, or no file can have it.
    """
    if problem := path_problem(name):
        raise UserError(f"{where}: {shown_path(name)} cannot be the path of a file: {problem}")
    parts = PurePosixPath(name.replace("\\", "/"))
    absolute = parts.is_absolute() or PureWindowsPath(name).drive
    if not parts.parts or absolute or ".." in parts.parts:
        raise UserError(f"{where}: path {shown_path(name)} must be relative to the list's folder and stay inside it")
    return str(parts)


def check_inside(root: Path, names: list[str], where: str) -> None:
    """Refuses files that are links to somewhere outside of the folder.

    Raises:
      UserError: names the first.
    """
    resolved = root.resolve()
    checked: set[Path] = set()
    for name in names:
        path = root / name
        # Folders once, and files only where they are links: a list may have 200,000 rows.
        for each in {path.parent} - checked | ({path} if path.is_symlink() else set()):
            if not each.resolve().is_relative_to(resolved):
                raise UserError(f"{where}: {name} leads out of {root} by a link; copy the file")
            checked.add(each)


def check_distinct(names: list[str], where: str, lines: Iterable[int] | None = None) -> None:
    """Refuses a file that is listed twice.

    Args:
      names: of the files.
      where: the list.
      lines: number of every file's line; 1, 2, ... if not given.

    Raises:
      UserError: names the file and both lines.
    """
    seen: dict[str, int] = {}
    for line, name in zip(lines or range(1, len(names) + 1), names):
        if name in seen:
            raise UserError(f"{where}: {name} is in line {seen[name]} and again in line {line}; keep one of them")
        seen[name] = line


def _flags(fields: list[str], where: str) -> np.ndarray:
    """Fields of 0 and 1 as numbers: uint8 ``[C]``."""
    if not set(fields) <= {"0", "1"}:
        column = next(column for column, field in enumerate(fields) if field not in ("0", "1"))
        raise UserError(f"{where}: label column {column + 1} is {fields[column][:20]!r}, must be 0 or 1")
    return np.frombuffer("".join(fields).encode(), np.uint8) - ord("0")


def _split_hash_line(line: str) -> tuple[str, list[str]] | None:
    """A path, in which spaces may occur, and the whole numbers after it; None where there is nothing like that."""
    numbers = _NUMBERS_BACKWARDS.match(line[::-1])
    name = line[: -numbers.end()] if numbers else ""
    if not name or name[0].isspace():
        return None
    return name, line[len(name) :].split()


def read_hash_list(path: Path) -> LabelledFiles:
    """Reads lines of ``path 0 1 0 ...``. A row without any 1 is an image without labels, as in HashNet's lists.

    Raises:
      UserError: names the file and line.
    """
    names, rows = [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        where = f"{path}, line {number}"
        found = _split_hash_line(line)
        if found is None:
            raise UserError(f"{where}: expected a path and then one 0 or 1 for every class, found {line[:60]!r}")
        name, fields = found
        flags = _flags(fields, where)
        if rows and len(flags) != len(rows[0]):
            raise UserError(f"{where}: {len(flags)} label columns, line 1 has {len(rows[0])}")
        names.append(inner_name(name, where))
        rows.append(flags)
    if not names:
        raise UserError(f"{path} is empty: expected lines of a path and one 0 or 1 for every class")
    check_distinct(names, str(path))
    return LabelledFiles(names, np.stack(rows))


def load_lists(settings: DataSettings) -> Dataset:
    """A folder with test.txt, train.txt and database.txt in the layout of `read_hash_list`.

    Rows are the union of the three lists: the database in its order, then what it lacks. Every published protocol reads
    these lists, and checks that their counts are its own.
    """
    root = Path(needed_path(settings, "lists", "a folder with test.txt, train.txt and database.txt"))
    lists = {part: read_hash_list(root / f"{part}.txt") for part in PARTS}
    row_of: dict[str, int] = {}
    labels: list[np.ndarray] = []
    for part in reversed(PARTS):
        names, rows, _ = lists[part]
        if rows.shape[1] != lists["database"].labels.shape[1]:
            raise UserError(
                f"{root}/{part}.txt has {rows.shape[1]} label columns, database.txt has "
                f"{lists['database'].labels.shape[1]}"
            )
        for name, row in zip(names, rows):
            if name not in row_of:
                row_of[name] = len(labels)
                labels.append(row)
            elif not np.array_equal(labels[row_of[name]], row):
                raise UserError(f"{root}/{part}.txt gives {name} other labels than another of the three lists")
    published = tuple(np.array([row_of[name] for name in lists[part].names], np.int64) for part in PARTS)
    names = list(row_of)
    check_inside(root, names, str(root))
    return image_dataset(root.resolve().name, root, names, np.stack(labels), settings, {"lists": published})


def _numbered(words: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class words as numbers of the sorted words: int32 ``[N]``; and those words, numbers in their own order."""
    numeric = all(word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS for word in words)
    classes = sorted(set(words), key=int if numeric else None)
    number = {word: index for index, word in enumerate(classes)}
    return np.array([number[word] for word in words], np.int32), tuple(classes)


def read_csv(path: Path) -> LabelledFiles:
    """Reads a CSV with a header: ``path,label`` with a class name in each row, or ``path`` and columns of 0 and 1.

    Raises:
      UserError: names the file and line.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header, *rows = [(reader.line_num, row) for row in reader if row] or [(1, [])]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from error
    header = [field.strip() for field in header[1]]
    if len(header) < 2 or header[0] != "path" or len(set(header)) < len(header) or not all(header):
        raise UserError(
            f"{path}, line 1: the header is {','.join(header)[:80]!r}; expected path,label or path and a column per tag"
        )
    names, labels = [], []
    for line, row in rows:
        where = f"{path}, line {line}"
        if len(row) != len(header):
            raise UserError(f"{where}: {len(row)} columns, the header has {len(header)}")
        names.append(inner_name(row[0], where))
        fields = [field.strip() for field in row[1:]]
        if header[1:] == ["label"]:
            if not fields[0]:
                raise UserError(f"{where}: the label is empty")
            labels.append(fields[0])
        else:
            labels.append(_flags(fields, where))
    if not names:
        raise UserError(f"{path} has a header and no rows")
    check_distinct(names, str(path), [line for line, _ in rows])
    if header[1:] == ["label"]:
        return LabelledFiles(names, *_numbered(labels))
    return LabelledFiles(names, np.stack(labels), tuple(header[1:]))


def _parse_json_line(line: str, where: str) -> tuple[str, list[str]]:
    try:
        value = json.loads(line)
        name, labels = value["path"], value["labels"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f'{where}: expected {{"path": ..., "labels": [...]}}, found {line[:60]!r}') from error
    if not isinstance(name, str) or not isinstance(labels, list):
        raise UserError(f"{where}: path must be text and labels a list")
    if not all(isinstance(label, str | int) and not isinstance(label, bool) for label in labels):
        raise UserError(f"{where}: labels must be words or whole numbers, are {str(labels)[:60]}")
    return inner_name(name, where), [str(label) for label in labels]


def read_jsonl(path: Path) -> LabelledFiles:
    """Reads lines of ``{"path": ..., "labels": [...]}``; labels are words or numbers, always read as multi-label.

    Raises:
      UserError: names the file and line.
    """
    names, labels, lines = [], [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            name, words = _parse_json_line(line, f"{path}, line {number}")
            names.append(name)
            labels.append(words)
            lines.append(number)
    check_distinct(names, str(path), lines)
    _, classes = _numbered([word for words in labels for word in words])
    column = {word: index for index, word in enumerate(classes)}
    rows = np.zeros((len(names), len(classes)), np.uint8)
    for row, words in zip(rows, labels):
        row[[column[word] for word in words]] = 1
    return LabelledFiles(names, rows, classes)


def _load_listed(settings: DataSettings, source: str, read: Callable[[Path], LabelledFiles]) -> Dataset:
    path = Path(needed_path(settings, source, f"a .{source} file beside the folder of its images"))
    names, labels, classes = read(path)
    check_inside(path.parent, names, str(path))
    return image_dataset(path.stem, path.parent, names, labels, settings, classes=classes)


def load_csv(settings: DataSettings) -> Dataset:
    """A CSV file in the layout of `read_csv`."""
    return _load_listed(settings, "csv", read_csv)


def load_jsonl(settings: DataSettings) -> Dataset:
    """A JSON-lines file in the layout of `read_jsonl`."""
    return _load_listed(settings, "jsonl", read_jsonl)
