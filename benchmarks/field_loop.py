"""Mean average precision as the field's repositories compute it: a NumPy loop with one argsort a query.

Written from the description of that procedure, as the thing to be faster than and as a second opinion. Ties are broken
by the sort, so its values depend on the order of the database.
"""

import numpy as np


def argsort_map(
    query_codes: np.ndarray, database_codes: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray
) -> float:
    """mAP over all ranks for {0, 1} codes and integer labels, or multi-hot ones given as float32."""
    return asymmetric_argsort_map(
        2.0 * query_codes.astype(np.float32) - 1.0, database_codes, query_labels, database_labels
    )


def asymmetric_argsort_map(
    query_logits: np.ndarray, database_codes: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray
) -> float:
    """The same for real-valued queries, float32 ``[Q, K]``."""
    database_signs = (2.0 * database_codes.astype(np.float32) - 1.0).T.copy()
    num_bits = database_codes.shape[1]
    total = 0.0
    for logits, label in zip(query_logits, query_labels, strict=True):
        distance = 0.5 * (num_bits - logits @ database_signs)
        relevant = database_labels == label if database_labels.ndim == 1 else database_labels @ label > 0
        ranks = np.flatnonzero(relevant[np.argsort(distance)]) + 1.0
        if len(ranks):
            total += np.mean(np.arange(1, len(ranks) + 1) / ranks)
    return total / len(query_logits)


def counting_map(
    query_codes: np.ndarray, database_codes: np.ndarray, query_labels: np.ndarray, database_labels: np.ndarray
) -> float:
    """Exact expected mAP by plain NumPy counting over distinct codes: the pace for a reward on a CPU.

    For {0, 1} codes and integer labels.
    """
    num_bits, num_classes = query_codes.shape[1], int(database_labels.max()) + 1
    # Distinct queries are pairs of code and label; distinct rows carry the number of their rows in each class.
    pairs, pair_of = _distinct(np.concatenate([query_codes, np.eye(num_classes, dtype=np.uint8)[query_labels]], axis=1))
    queries, labels = pairs[:, :num_bits], pairs[:, num_bits:].argmax(axis=1)
    rows, row_of = _distinct(database_codes)
    weights = np.bincount(row_of * num_classes + database_labels, minlength=len(rows) * num_classes)
    weights = weights.reshape(len(rows), num_classes).astype(np.float64)
    q, d = queries.astype(np.float32), rows.astype(np.float32)
    distance = (q.sum(1)[:, None] + d.sum(1) - 2 * q @ d.T).astype(np.int64)
    cell = (distance + (num_bits + 1) * np.arange(len(queries))[:, None]).ravel()
    count = lambda weight: np.bincount(cell, weight.ravel(), len(queries) * (num_bits + 1)).reshape(len(queries), -1)
    total = count(np.broadcast_to(weights.sum(axis=1), distance.shape))
    relevant = count(weights.T[labels])
    return float(_expected_precision(total, relevant)[pair_of].mean())


def _distinct(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    packed = np.ascontiguousarray(np.packbits(codes, axis=1))
    _, first, inverse = np.unique(packed.view(f"V{packed.shape[1]}"), return_index=True, return_inverse=True)
    return codes[first], inverse.ravel()


def _expected_precision(c: np.ndarray, r: np.ndarray) -> np.ndarray:
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(c.sum(1).max()) + 1))])
    C = (np.cumsum(c, 1) - c).astype(np.int64)
    R = np.cumsum(r, 1) - r
    s1 = harmonic[C + c.astype(np.int64)] - harmonic[C]
    s2 = c - (C + 1) * s1
    block = r / np.maximum(c, 1) * ((R + 1) * s1 + np.maximum(r - 1, 0) / np.maximum(c - 1, 1) * s2)
    return block.sum(1) / np.maximum(r.sum(1), 1)
