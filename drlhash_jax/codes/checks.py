"""What counts as codes and labels: checked once on the host, and brought to one form.

Codes of {0, 1} or {-1, 1} in any type become uint8 of {0, 1}. Class numbers of any width become int32, -1 for none, and
multi-hot labels uint8 of {0, 1}. Everything else is refused with a UserError of one line. Nothing here uses JAX, so the
code that compiles calls these functions first; what arrives inside a compiled function has no values to check.
"""

from collections.abc import Iterator

import numpy as np

from drlhash_jax.errors import UserError

# The two values of each kind of binary codes, that of bit 0 first.
BINARY = {"bits": (0, 1), "signs": (-1, 1)}
_GIVE_BINARY = "give {0,1} or {-1,1}"
# Rows looked at together: pieces are small in memory, and a mapped file stays on disk.
_BLOCK_ROWS = 65_536


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and rows of each piece of an array."""
    for start in range(0, len(array), _BLOCK_ROWS):
        yield start, np.asarray(array[start : start + _BLOCK_ROWS])


def check_finite(array: np.ndarray, name: str) -> None:
    """Refuses NaN and infinite numbers.

    Args:
      array: any type, ``[N]`` or ``[N, K]``.
      name: what it is, for messages.

    Raises:
      UserError: names the first row that holds one.
    """
    if array.dtype.kind != "f":
        return
    for start, block in _blocks(array):
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            value = block[tuple(bad[0])]
            shown = "NaN" if np.isnan(value) else value
            raise UserError(f"{name}: {shown} in row {start + bad[0][0]}; give finite numbers")


def find_other(array: np.ndarray, allowed: tuple[int, ...]) -> tuple[int, object] | None:
    """Row and value of the first entry of ``[N, K]`` that is not one of the allowed values; None if all are."""
    for start, block in _blocks(array):
        wrong = np.all([block != value for value in allowed], axis=0)
        if wrong.any():
            row = int(np.argmax(wrong.any(axis=1)))
            return start + row, block[row][wrong[row]][0]
    return None


def check_matrix(array: np.ndarray, name: str) -> None:
    """Refuses anything but finite numbers ``[rows, bits]`` with at least one row and one bit.

    Raises:
      UserError: names the shape, the type or the row.
    """
    if array.ndim != 2:
        raise UserError(f"{name}: shape {array.shape} is not [rows, bits]")
    if 0 in array.shape:
        raise UserError(f"{name}: shape {array.shape} is empty; at least one row and one bit are needed")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name}: values of type {array.dtype} are not numbers; {_GIVE_BINARY}")
    check_finite(array, name)


def as_finite(array: np.ndarray, name: str) -> np.ndarray:
    """Real numbers, logits above all, as float32 ``[N, K]``.

    Args:
      array: numbers ``[N, K]``.
      name: what they are, for messages.

    Raises:
      UserError: another shape or type, or a number that is not finite in float32.
    """
    array = np.asarray(array)
    check_matrix(array, name)
    # Float64 beyond float32's range becomes infinite.
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    check_finite(array, name)
    return array


def find_kind(array: np.ndarray, name: str, hint: str = _GIVE_BINARY) -> str:
    """The kind of binary codes ``[N, K]``: "signs" if -1 occurs, else "bits".

    Args:
      array: numbers ``[N, K]``.
      name: what it is, for messages.
      hint: what to do where the codes are not binary, for messages.

    Raises:
      UserError: names the first value other than -1, 0 and 1, or says that all three occur.
    """
    for kind, allowed in BINARY.items():
        if find_other(array, allowed) is None:
            return kind
    other = find_other(array, (-1, 0, 1))
    if other is None:
        raise UserError(f"{name}: -1, 0 and 1 occur; sign(0) is 0 in most software, so {_GIVE_BINARY}")
    raise UserError(f"{name}: {other[1]} in row {other[0]} is not binary; {hint}")


def to_bits(array: np.ndarray) -> np.ndarray:
    """Bits uint8 ``[N, K]``, 1 where a number is above 0."""
    bits = np.empty(array.shape, np.uint8)
    for start, block in _blocks(array):
        np.greater(block, 0, out=bits[start : start + len(block)], casting="unsafe")
    return bits


def as_codes(codes: np.ndarray, name: str = "codes") -> np.ndarray:
    """Codes as bits.

    Args:
      codes: {0, 1} or {-1, 1} array ``[N, K]`` of any type, -1 standing for bit 0.
      name: what they are, for messages.

    Returns:
      uint8 ``[N, K]`` of {0, 1}; no copy of what has this form.

    Raises:
      UserError: another shape, type or value.
    """
    codes = np.asarray(codes)
    check_matrix(codes, name)
    if codes.dtype == bool:
        return codes.view(np.uint8)
    if codes.dtype == np.uint8 and codes.max() <= 1:
        return codes
    find_kind(codes, name)
    return to_bits(codes)


def _as_multi_hot(labels: np.ndarray, name: str) -> np.ndarray:
    """Multi-hot labels as uint8 ``[N, C]`` of {0, 1}; no copy of what has this form."""
    if labels.dtype.kind not in "biuf":
        raise UserError(f"{name}: values of type {labels.dtype} are not numbers; multi-hot labels are 0 and 1")
    check_finite(labels, name)
    if other := find_other(labels, (0, 1)):
        hint = "; class numbers are one axis [rows]" if labels.shape[1] == 1 else ""
        raise UserError(f"{name}: {other[1]} in row {other[0]}; multi-hot labels are 0 and 1{hint}")
    return labels.view(np.uint8) if labels.dtype == bool else labels.astype(np.uint8, copy=False)


def _class_numbers(labels: np.ndarray, name: str) -> np.ndarray:
    """Class numbers ``[N]`` as integers, -1 for none: of their own type, or int64 if they were floats."""
    if labels.dtype.kind not in "iuf":
        raise UserError(f"{name}: values of type {labels.dtype} are not class numbers; give one integer per row")
    if labels.dtype.kind == "f":
        check_finite(labels, name)
        if (fractions := labels != np.floor(labels)).any():
            row = int(np.argmax(fractions))
            raise UserError(f"{name}: {labels[row]} in row {row} is not a class number; give one integer per row")
        # From here on not every integer has a float of its own, and two classes may have become one.
        limit = 2.0 ** min(np.finfo(labels.dtype).nmant + 1, 62)
        if labels.max(initial=0) >= limit:
            raise UserError(f"{name}: {labels.max():.0f} is too large to be exact in {labels.dtype}; give integers")
        labels = np.maximum(labels, -1).astype(np.int64)
    return labels if labels.dtype.kind == "u" else np.maximum(labels, -1)


def _fits_int32(labels: np.ndarray) -> bool:
    return int(labels.max(initial=0)) < 2**31


def _check_label_axes(labels: np.ndarray, name: str) -> None:
    if labels.ndim not in (1, 2):
        raise UserError(f"{name}: shape {labels.shape} is neither class numbers [rows] nor multi-hot [rows, classes]")


def as_labels(labels: np.ndarray, name: str = "labels") -> np.ndarray:
    """Labels of one set of rows.

    Args:
      labels: whole numbers ``[N]``, negative for none, or {0, 1} array ``[N, C]`` of any type.
      name: what they are, for messages.

    Returns:
      int32 ``[N]``, -1 for none, or uint8 ``[N, C]`` of {0, 1}.

    Raises:
      UserError: another shape, type or value; or class numbers beyond int32, which only `as_label_pair` can
        renumber, since queries and database must agree.
    """
    labels = np.asarray(labels)
    _check_label_axes(labels, name)
    if labels.ndim == 2:
        return _as_multi_hot(labels, name)
    labels = _class_numbers(labels, name)
    if not _fits_int32(labels):
        raise UserError(f"{name}: class number {labels.max()} is beyond int32; number the classes from 0")
    return labels.astype(np.int32)


def _renumber(query: np.ndarray, database: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers of any width as int32 0 .. C-1, the same in both, -1 for none."""
    # Signed and unsigned integers have only float64 in common, which is not exact; without the negative ones, uint64.
    as_unsigned = lambda labels: np.maximum(labels, 0).astype(np.uint64)
    classes = np.unique(np.concatenate([as_unsigned(labels[labels >= 0]) for labels in (query, database)]))
    place = lambda labels: np.searchsorted(classes, as_unsigned(labels))
    query, database = (np.where(labels >= 0, place(labels), -1).astype(np.int32) for labels in (query, database))
    return query, database


def as_label_pair(
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    names: tuple[str, str] = ("query labels", "database labels"),
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of queries and database, in one numbering of the classes.

    Args:
      query_labels: as for `as_labels`.
      database_labels: as for `as_labels`.
      names: what they are, for messages.

    Returns:
      Both as `as_labels` gives them. Class numbers beyond int32 become 0 .. C-1, in the order of their size.

    Raises:
      UserError: another shape, type or value.
    """
    pair = [np.asarray(labels) for labels in (query_labels, database_labels)]
    if any(labels.ndim != 1 for labels in pair):
        query, database = map(as_labels, pair, names)
        return query, database
    query, database = map(_class_numbers, pair, names)
    if _fits_int32(query) and _fits_int32(database):
        return query.astype(np.int32), database.astype(np.int32)
    return _renumber(query, database)


def check_shapes(query_codes, database_codes, query_labels, database_labels) -> None:
    """Refuses arrays whose shapes do not fit each other; works on traced arrays too.

    Args:
      query_codes: ``[Q, K]``.
      database_codes: ``[N, K]``.
      query_labels: ``[Q]`` or ``[Q, C]``.
      database_labels: ``[N]`` or ``[N, C]``, as the queries'.

    Raises:
      UserError: names the two shapes.
    """
    for name, codes, labels in (("query", query_codes, query_labels), ("database", database_codes, database_labels)):
        if len(codes.shape) != 2:
            raise UserError(f"{name} codes: shape {codes.shape} is not [rows, bits]")
        _check_label_axes(labels, f"{name} labels")
        if codes.shape[0] != labels.shape[0]:
            raise UserError(f"{name}: {codes.shape[0]} rows of codes but {labels.shape[0]} rows of labels")
    if query_codes.shape[1] != database_codes.shape[1]:
        raise UserError(f"query codes have {query_codes.shape[1]} bits, database codes {database_codes.shape[1]}")
    if query_labels.shape[1:] != database_labels.shape[1:]:
        raise UserError(f"query labels {query_labels.shape} and database labels {database_labels.shape} do not fit")


def check_rank(name: str, rank: int, num_rows: int) -> None:
    """Refuses a rank that is not between 1 and the number of database rows.

    Raises:
      UserError: names the rank.
    """
    if rank < 1:
        raise UserError(f"{name}={rank}: must be at least 1")
    if rank > num_rows:
        raise UserError(f"{name}={rank}: the database has only {num_rows} rows")


def count_unlabelled(labels: np.ndarray) -> int:
    """Number of rows without a label, which are relevant to nothing: negative class, or all zeros."""
    labels = np.asarray(labels)
    return int(np.sum(labels < 0)) if labels.ndim == 1 else int(np.sum(~(labels != 0).any(axis=1)))
