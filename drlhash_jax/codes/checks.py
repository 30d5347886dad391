"""What evaluation accepts, checked once on the host: every refusal is a ValueError of one line."""

import numpy as np


def check_shapes(query_codes, database_codes, query_labels, database_labels) -> None:
    """Raises ValueError where codes ``[Q, K]`` and ``[N, K]`` or labels ``[Q(, C)]`` and ``[N(, C)]`` do not fit."""
    for codes, labels in ((query_codes, query_labels), (database_codes, database_labels)):
        if codes.shape[0] != labels.shape[0]:
            raise ValueError(f"{codes.shape[0]} rows of codes but {labels.shape[0]} rows of labels")
    if query_codes.shape[1] != database_codes.shape[1]:
        raise ValueError(f"query codes have {query_codes.shape[1]} bits, database codes {database_codes.shape[1]}")
    if query_labels.shape[1:] != database_labels.shape[1:]:
        raise ValueError(f"query labels {query_labels.shape} and database labels {database_labels.shape} do not fit")


def _check_binary(name: str, values: np.ndarray) -> None:
    if values.dtype == bool:
        return
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name} have dtype {values.dtype}: must be numbers")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ValueError(f"{name} contain NaN")
    wrong = values[(values != 0) & (values != 1)]
    if wrong.size:
        raise ValueError(f"{name} must be 0 or 1, found {wrong[0]}")


def check_codes(name: str, codes: np.ndarray) -> None:
    """Raises ValueError unless codes are a {0, 1} array ``[N, K]`` with at least one row and one bit."""
    if codes.ndim != 2 or 0 in codes.shape:
        raise ValueError(f"{name} have shape {codes.shape}: need [rows, bits] with at least one row and one bit")
    _check_binary(name, codes)


def check_labels(name: str, labels: np.ndarray) -> None:
    """Raises ValueError unless labels are integer ``[N]`` or a {0, 1} array ``[N, C]``."""
    if labels.ndim == 2:
        _check_binary(name, labels)
    elif labels.ndim != 1:
        raise ValueError(f"{name} have shape {labels.shape}: need integers [rows] or multi-hot [rows, classes]")
    elif labels.dtype.kind not in "iu":
        raise ValueError(f"{name} have dtype {labels.dtype}: one class a row must be an integer")


def check_rank(name: str, rank: int, num_rows: int) -> None:
    """Raises ValueError unless a rank is between 1 and the number of database rows."""
    if rank < 1:
        raise ValueError(f"{name}={rank}: must be at least 1")
    if rank > num_rows:
        raise ValueError(f"{name}={rank}: the database has only {num_rows} rows")


def check_evaluation(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    top_k: int | None = None,
) -> None:
    """Checks everything that an evaluation is given.

    Args:
      query_codes: {0, 1} array ``[Q, K]``.
      database_codes: {0, 1} array ``[N, K]``.
      query_labels: integer ``[Q]`` or multi-hot ``[Q, C]``; negative or all-zero rows are allowed, see
        `count_unlabelled`.
      database_labels: integer ``[N]`` or multi-hot ``[N, C]``.
      top_k: ranks that count; None for all.

    Raises:
      ValueError: shapes that do not fit, empty sets, values other than 0 and 1, NaN, or top_k outside 1 .. N.
    """
    check_codes("query codes", query_codes)
    check_codes("database codes", database_codes)
    check_labels("query labels", query_labels)
    check_labels("database labels", database_labels)
    check_shapes(query_codes, database_codes, query_labels, database_labels)
    if top_k is not None:
        check_rank("top_k", top_k, len(database_codes))


def count_unlabelled(labels: np.ndarray) -> int:
    """Number of rows without a label, which are relevant to nothing: negative class, or all zeros."""
    labels = np.asarray(labels)
    return int(np.sum(labels < 0)) if labels.ndim == 1 else int(np.sum(~(labels != 0).any(axis=1)))
