"""What the metrics are given: outside a compiled function values are checked, inside one only shapes."""

from typing import Any, NamedTuple

import jax

from drlhash_jax.codes import as_codes, as_label_pair, as_labels, check_shapes


class Arguments(NamedTuple):
    """Codes and labels in one form; inside a compiled function as they came.

    Attributes:
      query_codes: uint8 ``[Q, K]`` of {0, 1}.
      database_codes: uint8 ``[N, K]`` of {0, 1}.
      query_labels: int32 ``[Q]``, negative for none, or uint8 multi-hot ``[Q, C]``.
      database_labels: the same of the database, ``[N]`` or ``[N, C]``.
    """

    query_codes: Any
    database_codes: Any
    query_labels: Any
    database_labels: Any


def _is_traced(array: Any) -> bool:
    return isinstance(array, jax.core.Tracer)


def accept(query_codes: Any, database_codes: Any, query_labels: Any, database_labels: Any) -> Arguments:
    """Checks what every metric is given, and brings it to one form.

    Traced arrays, those of `jit` and `vmap`, have no values yet: only their shapes are checked. There, codes must be
    {0, 1} or {-1, 1} and class numbers int32 by themselves.

    Args:
      query_codes: {0, 1} or {-1, 1} array ``[Q, K]`` of any type.
      database_codes: {0, 1} or {-1, 1} array ``[N, K]`` of any type.
      query_labels: whole numbers ``[Q]``, negative for none, or multi-hot ``[Q, C]``.
      database_labels: whole numbers ``[N]``, negative for none, or multi-hot ``[N, C]``.

    Raises:
      UserError: shapes that do not fit, empty sets, or values that are neither codes nor labels.
    """
    codes = {"query codes": query_codes, "database codes": database_codes}
    codes = [array if _is_traced(array) else as_codes(array, name) for name, array in codes.items()]
    labels = {"query labels": query_labels, "database labels": database_labels}
    if any(map(_is_traced, labels.values())):
        labels = [array if _is_traced(array) else as_labels(array, name) for name, array in labels.items()]
    else:
        labels = as_label_pair(*labels.values())
    check_shapes(*codes, *labels)
    return Arguments(*codes, *labels)
