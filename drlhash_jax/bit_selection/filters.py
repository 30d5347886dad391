"""Choices that look at bits and labels of the reward's database and compute no reward; on the host, in NumPy."""

from typing import NamedTuple

import jax
import numpy as np

from drlhash_jax.bit_selection.environment import EnvParams
from drlhash_jax.types import Array

# NDomSet as published: neighbours, rows, and the two weights.
_NEIGHBOURS, _MOST_ROWS, _QUALITY_WEIGHT, _INDEPENDENCE_WEIGHT = 30, 3000, 0.25, 1.0


class _Rows(NamedTuple):
    """Rows of the reward's database.

    Attributes:
      bits: uint8 ``[n, k]``.
      labels: bool ``[n, C]``.
      weights: int64 ``[n]``, how many rows each stands for, at least 1.
    """

    bits: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def _rows(env: EnvParams) -> _Rows:
    weights = np.asarray(env.database.weights, np.int64)
    present = weights > 0
    words, labels = np.asarray(env.database.codes)[present], np.asarray(env.database.labels)[present]
    unpack = lambda words, count: np.unpackbits(words.astype(">u4").view(np.uint8), axis=1, count=count)
    hot = labels[:, None] == np.unique(labels[labels >= 0]) if labels.ndim == 1 else unpack(labels, None).astype(bool)
    return _Rows(unpack(words, env.pool_bits), hot, weights[present])


def by_entropy(env: EnvParams, num_selected: int) -> np.ndarray:
    """The p bits of largest entropy, of equal ones the earlier: int32 ``[p]``."""
    bits, _, weights = _rows(env)
    ones = weights @ bits
    # The entropy rises with the rarer value's count. Counts are exact: 1,993 ones and 2,007 ones of 4,000 are equal,
    # while their entropies in floating point are not.
    rarer = np.minimum(ones, weights.sum() - ones)
    return np.argsort(-rarer, kind="stable")[:num_selected].astype(np.int32)


def _mutual_information(joint: np.ndarray) -> np.ndarray:
    """Mutual information in nats of two binary variables: float64 ``[...]`` from probabilities ``[..., 2, 2]``."""
    product = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
    terms = np.where(
        joint > 0, joint * np.log(np.where(joint > 0, joint, 1.0) / np.where(product > 0, product, 1.0)), 0
    )
    return terms.sum((-2, -1))


def _pairwise_information(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mutual information of every column of one matrix with every column of another: float64 ``[k, l]``."""
    share = weights / weights.sum()
    a, b = first.astype(float), second.astype(float)
    both = (a * share[:, None]).T @ b
    ones_a, ones_b = (share @ a)[:, None], (share @ b)[None]
    joint = np.stack([1 - ones_a - ones_b + both, ones_b - both, ones_a - both, both], axis=-1)
    return _mutual_information(np.maximum(joint, 0.0).reshape(*both.shape, 2, 2))


def by_mutual_information(env: EnvParams, num_selected: int) -> np.ndarray:
    """Bits that tell much about the labels and little that the chosen ones tell already.

    One after the other, the bit with the largest sum over labels of I(bit; label), less the mean of I(bit; chosen bit)
    (mRMR's difference form: Peng et al., TPAMI 2005).

    Args:
      env: EnvParams.
      num_selected: p.

    Returns:
      int32 ``[p]``.
    """
    bits, labels, weights = _rows(env)
    relevance = _pairwise_information(bits, labels, weights).sum(axis=1)
    redundancy = _pairwise_information(bits, bits, weights)
    order: list[int] = []
    for _ in range(num_selected):
        score = relevance - (redundancy[:, order].mean(axis=1) if order else 0.0)
        score[order] = -np.inf
        order.append(int(np.argmax(score)))
    return np.array(order, np.int32)


def _neighbour_graph(bits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Symmetric 0/1 graph float64 ``[n, n]``: nearest rows by all bits among those that share a label."""
    signs = 2.0 * bits - 1.0
    closeness = np.where(labels.astype(np.int32) @ labels.T.astype(np.int32) > 0, signs @ signs.T, -np.inf)
    np.fill_diagonal(closeness, -np.inf)
    count = min(_NEIGHBOURS, len(bits) - 1)
    nearest = np.argsort(-closeness, axis=1, kind="stable")[:, :count]
    graph = np.zeros_like(closeness)
    np.put_along_axis(graph, nearest, 1.0, axis=1)
    graph = np.where(np.isfinite(closeness), graph, 0.0)
    return np.maximum(graph, graph.T)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values brought to [0, 1]; all 0 where they are equal."""
    spread = np.ptp(values)
    return (values - values.min()) / (spread if spread > 0 else 1.0)


def _dominant_set(affinity: np.ndarray) -> np.ndarray:
    """Weights float64 ``[m]`` at which replicator dynamics x <- x * (Hx) / x'Hx come to rest."""
    x = np.full(len(affinity), 1.0 / len(affinity))
    for _ in range(1000):
        growth = affinity @ x
        total = x @ growth
        if total <= 0:
            break
        moved = x * growth / total
        done = np.abs(moved - x).sum() < 1e-8
        x = moved
        if done:
            break
    return x


def by_dominant_sets(key: Array, env: EnvParams, num_selected: int) -> np.ndarray:
    """NDomSet: bits that keep neighbours of one label together and tell different things (Liu et al., CVPR 2013).

    A bit's quality is exp(-gamma b'Lb) with the normalised Laplacian of a graph of nearest rows that share a label, the
    independence of two bits exp(-lambda I(b, c)); both scaled to [0, 1] before. Dominant sets of the matrix of their
    products are taken one after the other until there are p bits.

    Args:
      key: PRNG key, consumed: draws 3,000 rows where there are more.
      env: EnvParams.
      num_selected: p.

    Returns:
      int32 ``[p]``.
    """
    bits, labels, weights = _rows(env)
    chance = weights / weights.sum()
    kept = np.asarray(jax.random.choice(key, len(bits), (min(_MOST_ROWS, len(bits)),), replace=False, p=chance))
    graph = _neighbour_graph(bits[kept], labels[kept])
    scale = 1.0 / np.sqrt(np.maximum(graph.sum(axis=1), 1.0))
    signs = (2.0 * bits[kept] - 1.0) * 1.0
    smoothed = scale[:, None] * (graph @ (scale[:, None] * signs))
    roughness = (signs * (signs - smoothed)).sum(axis=0)
    quality = np.exp(-_QUALITY_WEIGHT * _scaled(roughness))
    information = _pairwise_information(bits, bits, weights)
    off_diagonal = ~np.eye(len(information), dtype=bool)
    if off_diagonal.any():
        information = information / max(information[off_diagonal].max(), 1e-12)
    affinity = quality[:, None] * quality[None] * np.exp(-_INDEPENDENCE_WEIGHT * information)
    # No bit supports itself, or one alone would be the best set.
    np.fill_diagonal(affinity, 0.0)
    left, order = np.arange(env.pool_bits), []
    while len(order) < num_selected:
        x = _dominant_set(affinity[np.ix_(left, left)])
        support = np.argsort(-x, kind="stable")[: max(1, int((x > 1e-6 * x.max()).sum()))]
        order += left[support].tolist()
        left = np.delete(left, support)
    return np.array(order[:num_selected], np.int32)
