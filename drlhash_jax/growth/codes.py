"""Codes of new rows beside old ones, by discrete coordinate descent over label sets.

The objective is that of DIHN (see `methods/dihn.py`) with U = the codes themselves, what a network should come to:

    sum_(j old and new) (b_i . b_j - K S_ij)^2 + lambda ||b_i - u_i||^2      for every new row i,

S = s (1 + r) - r, and u the outputs of the old network. Rows of one label set are the same to it but for u, whose mean
over them is taken, so that they get one code, and the work does not depend on the number of rows.
"""

import numpy as np

# Rounds over all new label sets; a round that changes no bit ends it sooner.
_MOST_ROUNDS = 20


def class_ratio(counts: np.ndarray, similar: np.ndarray) -> float:
    """r, similar over dissimilar pairs of all rows; see `methods.adsh.pair_ratio`.

    Args:
      counts: float ``[S]``, rows of each label set.
      similar: bool ``[S, S]``, whether two label sets have a label in common.
    """
    share = float(counts @ similar @ counts) / float(counts.sum()) ** 2
    return share / max(1.0 - share, 1e-6)


def learn_codes(
    old_codes: np.ndarray, old_labels: np.ndarray, new_labels: np.ndarray, outputs: np.ndarray, gamma: float
) -> np.ndarray:
    """Codes of new rows.

    Args:
      old_codes: {0, 1} ``[m, K]``, of labelled rows; they stay.
      old_labels: multi-hot ``[m, C]``.
      new_labels: multi-hot ``[n, C]``.
      outputs: float ``[n, K]``, tanh of the old network's logits of the new rows.
      gamma: lambda, weight of the distance from the outputs.

    Returns:
      uint8 ``[n, K]`` of {0, 1}; equal where labels are.
    """
    num_bits = old_codes.shape[1]
    labels = np.concatenate([old_labels, new_labels]) != 0
    sets, numbers = np.unique(labels, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    of_old, of_new = numbers[: len(old_codes)], numbers[len(old_codes) :]
    sums = np.zeros((len(sets), num_bits))
    np.add.at(sums, of_old, 2.0 * old_codes - 1.0)
    wished = np.zeros_like(sums)
    np.add.at(wished, of_new, outputs)
    added = np.bincount(of_new, minlength=len(sets)).astype(float)
    new_sets = np.flatnonzero(added)
    similar = sets.astype(np.float32) @ sets.T.astype(np.float32) > 0
    ratio = class_ratio(added + np.bincount(of_old, minlength=len(sets)), similar)
    gram = (2.0 * old_codes - 1.0).T @ (2.0 * old_codes - 1.0)

    codes = np.where(wished[new_sets] >= 0, 1.0, -1.0)
    sums[new_sets] += added[new_sets, None] * codes
    gram += (codes * added[new_sets, None]).T @ codes
    for _ in range(_MOST_ROUNDS):
        before = codes.copy()
        for place, number in enumerate(new_sets):
            # What a set's rows ask of one another is met whatever their code is.
            count, code = added[number], codes[place]
            sums[number] -= count * code
            gram -= count * np.outer(code, code)
            soft = np.where(similar[number], 1.0, -ratio)
            wanted = num_bits * (soft @ sums) + gamma * wished[number] / count
            for bit in range(num_bits):
                others = gram[bit] @ code - gram[bit, bit] * code[bit]
                code[bit] = 1.0 if wanted[bit] >= others else -1.0
            sums[number] += count * code
            gram += count * np.outer(code, code)
        if np.array_equal(codes, before):
            break
    return (codes[np.searchsorted(new_sets, of_new)] > 0).astype(np.uint8)
