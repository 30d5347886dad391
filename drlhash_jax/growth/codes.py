"""Codes of new rows beside old ones, by discrete coordinate descent over groups of rows.

The objective is that of DIHN (see `methods/dihn.py`) with U = the codes themselves, what a network should come to:

    sum_(j old and new) (b_i . b_j - K S_ij)^2 + lambda ||b_i - u_i||^2      for every new row i,

S = s (1 + r) - r, and u the outputs of the old network. Rows of one label set are the same to it but for u, whose mean
over them is taken, so that they get one code, and the work does not depend on the number of rows.

Old codes stay. If they are asked to become longer, they keep their bits and get further ones; if some of their bits may
change, at most so many of a code do. Both minimise the same objective without its second term, over the rows that share
a code now, which share one afterwards: what happens to a code then also tells what happens to rows without labels.
"""

from typing import NamedTuple

import numpy as np

from drlhash_jax import bundles

# Rounds over all groups; a round that changes no bit ends it sooner.
_MOST_ROUNDS = 20


class Codes(NamedTuple):
    """Codes that were learnt, uint8 {0, 1}.

    Attributes:
      old: ``[m, K]``, of the old rows.
      new: ``[n, K]``, of the new ones; equal where labels are.
    """

    old: np.ndarray
    new: np.ndarray


class Problem(NamedTuple):
    """What the objective looks at: G groups of rows, each with one code, and S label sets.

    Attributes:
      soft: float ``[S, S]``, S of label sets.
      counts: float ``[G, S]``, rows of each group with each label set.
      wished: float ``[G, K]``, lambda times the mean output of a group's rows.
      kept: float ``[G, K]`` of {-1, 0, 1}: bits that a group has already; 0 where it has none.
      changes: int ``[G]``, how many of those bits may change.
    """

    soft: np.ndarray
    counts: np.ndarray
    wished: np.ndarray
    kept: np.ndarray
    changes: np.ndarray


def class_ratio(counts: np.ndarray, similar: np.ndarray) -> float:
    """r, similar over dissimilar pairs of all rows; see `methods.adsh.pair_ratio`.

    Args:
      counts: float ``[S]``, rows of each label set.
      similar: bool ``[S, S]``, whether two label sets have a label in common.
    """
    share = float(counts @ similar @ counts) / float(counts.sum()) ** 2
    return share / max(1.0 - share, 1e-6)


def better_code(code: np.ndarray, gram: np.ndarray, wanted: np.ndarray, kept: np.ndarray, changes: int) -> np.ndarray:
    """The code after flips of one bit at a time, always the one that lowers b^T G b - 2 w . b most, until none does.

    Args:
      code: float ``[K]`` of {-1, 1}, which has at most the changes that are allowed.
      gram: float ``[K, K]``, G.
      wanted: float ``[K]``, w.
      kept: float ``[K]`` of {-1, 0, 1}, bits of which only some may be changed.
      changes: how many.

    Returns:
      float ``[K]``.
    """
    code = code.copy()
    least = 1e-9 * (np.abs(gram).sum() + np.abs(wanted).sum())
    products = gram @ code
    while True:
        # What the objective loses, divided by 4.
        gains = code * (products - wanted) - np.diag(gram)
        if np.count_nonzero(kept * code < 0) >= changes:
            gains = np.where(kept * code > 0, -np.inf, gains)
        bit = int(np.argmax(gains))
        if gains[bit] <= least:
            return code
        code[bit] = -code[bit]
        products += 2.0 * code[bit] * gram[bit]


def descend(problem: Problem, sums: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Codes of all groups, each bettered in turn while the others stay; the objective never rises.

    Args:
      problem: Problem.
      sums: float ``[S, K]``, sums of the codes of the rows that do not change, by label set.
      gram: float ``[K, K]``, sum of b b^T over these rows.

    Returns:
      float ``[G, K]`` of {-1, 1}.
    """
    num_bits = len(gram)
    drawn = np.where(np.random.default_rng(0).integers(0, 2, problem.kept.shape) > 0, 1.0, -1.0)
    begin = np.where(problem.wished != 0, np.sign(problem.wished), drawn)
    codes = np.where(problem.kept != 0, problem.kept, begin)
    sizes = problem.counts.sum(axis=1)
    sums = sums + problem.counts.T @ codes
    gram = gram + codes.T @ (sizes[:, None] * codes)
    asked = num_bits * problem.counts @ problem.soft / sizes[:, None]
    for _ in range(_MOST_ROUNDS):
        before = codes.copy()
        for group, code in enumerate(before):
            # What a group's rows ask of one another is met, or not, whatever their code is.
            others = gram - sizes[group] * np.outer(code, code)
            sums_of_others = sums - np.outer(problem.counts[group], code)
            wanted = asked[group] @ sums_of_others + problem.wished[group]
            code = better_code(code, others, wanted, problem.kept[group], problem.changes[group])
            sums = sums_of_others + np.outer(problem.counts[group], code)
            gram = others + sizes[group] * np.outer(code, code)
            codes[group] = code
        if np.array_equal(codes, before):
            break
    return codes


def _count(groups: np.ndarray, sets: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    counts = np.zeros(shape)
    np.add.at(counts, (groups, sets), 1.0)
    return counts


def learn_codes(
    old_codes: np.ndarray,
    old_labels: np.ndarray,
    new_labels: np.ndarray,
    outputs: np.ndarray,
    gamma: float,
    num_bits: int | None = None,
    changes: int = 0,
) -> Codes:
    """Codes of old rows and of new ones.

    Args:
      old_codes: {0, 1} ``[m, k]``, of labelled rows.
      old_labels: multi-hot ``[m, C]``.
      new_labels: multi-hot ``[n, C]``.
      outputs: float ``[n, k]``, tanh of the old network's logits of the new rows.
      gamma: lambda, weight of the distance from the outputs.
      num_bits: K, the length that all codes get, k or more; None for k.
      changes: how many of an old code's k bits may change.

    Returns:
      Codes of K bits.
    """
    num_old, old_bits = old_codes.shape
    num_bits = old_bits if num_bits is None else num_bits
    widen = lambda rows: np.pad(rows, ((0, 0), (0, num_bits - old_bits)))
    sets, numbers = np.unique(np.concatenate([old_labels, new_labels]) != 0, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    similar = sets.astype(np.float32) @ sets.T.astype(np.float32) > 0
    ratio = class_ratio(np.bincount(numbers).astype(float), similar)
    soft = np.where(similar, 1.0, -ratio)

    of_old, of_new = numbers[:num_old], numbers[num_old:]
    new_sets, new_groups = np.unique(of_new, return_inverse=True)
    counts = _count(new_groups, of_new, (len(new_sets), len(sets)))
    means = np.zeros((len(new_sets), old_bits))
    np.add.at(means, new_groups, outputs / counts.sum(axis=1)[new_groups, None])
    groups = Problem(soft, counts, widen(gamma * means), np.zeros((len(counts), num_bits)), np.zeros(len(counts), int))

    signs = widen(2.0 * old_codes - 1.0)
    if num_bits == old_bits and not changes:
        sums = np.zeros((len(sets), num_bits))
        np.add.at(sums, of_old, signs)
        codes = descend(groups, sums, signs.T @ signs)
        return Codes(np.asarray(old_codes, np.uint8), (codes[new_groups] > 0).astype(np.uint8))
    kept, old_groups = np.unique(signs, axis=0, return_inverse=True)
    old_groups = old_groups.reshape(-1)
    moved = Problem(
        soft,
        _count(old_groups, of_old, (len(kept), len(sets))),
        np.zeros_like(kept),
        kept,
        np.full(len(kept), changes),
    )
    whole = Problem(soft, *(np.concatenate(pair) for pair in zip(moved[1:], groups[1:])))
    codes = descend(whole, np.zeros((len(sets), num_bits)), np.zeros((num_bits, num_bits))) > 0
    return Codes(codes[old_groups].astype(np.uint8), codes[len(kept) + new_groups].astype(np.uint8))


def move_codes(packed: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What becomes of rows of which nothing but the code is known: the same as of the known code that is nearest.

    Args:
      packed: uint8 ``[N, B]``, packed codes of k bits.
      before: {0, 1} ``[m, k]``, codes of known rows; rows with equal codes have equal ones after.
      after: {0, 1} ``[m, K]``, what these became; K is k or more.

    Returns:
      Packed uint8 ``[N, B']`` of K bits: the bits that changed in the nearest known code are changed, further ones are
      copied.
    """
    if np.array_equal(before, after):
        return packed
    old_bits = before.shape[1]
    distinct, numbers = np.unique(packed, axis=0, return_inverse=True)
    _, rows = bundles.search(distinct, np.packbits(before, axis=1), 1)
    nearest = rows[:, 0]
    found, own = after[nearest], np.unpackbits(distinct, axis=1, count=old_bits)
    found[:, :old_bits] = own ^ before[nearest] ^ after[nearest, :old_bits]
    return np.packbits(found, axis=1)[numbers.reshape(-1)]
