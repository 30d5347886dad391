"""Codes of label sets: new concepts beside frozen codes of old ones, and all codes learnt anew, on NUS-WIDE's labels.

    python -m benchmarks.growth_labels --bits=16,32,48 --seeds=0,1,2

The 21 most frequent concepts of NUS-WIDE, 11 of which are there first (drawn at random): rows with none of the other 10
are the old ones. Their codes are learnt, then those of the other rows beside them (`growth.codes.learn_codes`); against
that, all codes are learnt at once by the same coordinate descent, which then has nothing old. Nothing looks at images:
outputs are random signs, where the descent starts, with weight 0.

With B in {-1, 1} the codes ``[n, K]``, the error is ||B B^T / K - S||_F^2 / n^2 over all n rows, rows with themselves
included: the mean over ordered pairs. "Soft" is S = s (1 + r) - r, as in the objective that is descended, where s is 1
for rows that share a label and else 0, and r the similar over the dissimilar pairs of all rows; "hard" is S = 2 s - 1,
as in the thesis. "Drawn" are random codes of label sets.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from benchmarks.timing import describe_machine
from drlhash_jax import data
from drlhash_jax.growth.codes import class_ratio, learn_codes

NUM_OLD = 11


class LabelSets:
    """Distinct label sets of rows, their pairs, and which of them are old."""

    def __init__(self, labels: np.ndarray, is_old: np.ndarray):
        """Counts rows.

        Args:
          labels: multi-hot ``[n, C]``.
          is_old: bool ``[n]``; the same for rows of the same labels.
        """
        self.sets, self.first, counts = np.unique(labels, axis=0, return_index=True, return_counts=True)
        self.shares, self.old = counts / counts.sum(), is_old[self.first]
        self.similar = self.sets.astype(np.float32) @ self.sets.T.astype(np.float32) > 0
        self.ratio = class_ratio(counts.astype(float), self.similar)

    def errors(self, codes: np.ndarray, low: float) -> dict[str, float]:
        """Mean of (b_i . b_j / K - S_ij)^2 over all pairs, over those of old rows, of old and new, and of new ones.

        Args:
          codes: {0, 1} ``[n, K]`` of rows; equal where labels are.
          low: S of rows that share no label.
        """
        signs = 2.0 * codes[self.first] - 1.0
        squares = (signs @ signs.T / codes.shape[1] - np.where(self.similar, 1.0, low)) ** 2
        groups = {"all": (1.0, 1.0), "old": (self.old, self.old), "old-new": (self.old, ~self.old)}
        groups["new"] = ~self.old, ~self.old
        weighed = {name: (self.shares * a, self.shares * b) for name, (a, b) in groups.items()}
        return {name: float(a @ squares @ b / (a.sum() * b.sum())) for name, (a, b) in weighed.items()}


def timed(function: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What a function returns, and seconds of the processor."""
    started = time.process_time()
    return function(), time.process_time() - started


def run(labels: np.ndarray, num_bits: int, seed: int) -> None:
    """One choice of old concepts and one length."""
    rng = np.random.default_rng(seed)
    new_concepts = rng.permutation(labels.shape[1])[NUM_OLD:]
    is_old = ~labels[:, new_concepts].any(axis=1)
    signs = lambda rows: rng.choice([-1.0, 1.0], size=(rows, num_bits))
    nothing = np.zeros((0, num_bits), np.uint8), labels[:0]
    old, old_seconds = timed(lambda: learn_codes(*nothing, labels[is_old], signs(is_old.sum()), 0.0).new)
    beside = lambda: learn_codes(old, labels[is_old], labels[~is_old], signs((~is_old).sum()), 0.0).new
    new, new_seconds = timed(beside)
    scratch, all_seconds = timed(lambda: learn_codes(*nothing, labels, signs(len(labels)), 0.0).new)
    frozen = np.zeros((len(labels), num_bits), np.uint8)
    frozen[is_old], frozen[~is_old] = old, new
    found = LabelSets(labels, is_old)
    drawn = rng.integers(0, 2, (len(found.sets), num_bits), dtype=np.uint8)
    drawn = drawn[np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)]
    sizes = ", ".join(f"{rows.sum()} {name} rows" for name, rows in (("old", is_old), ("new", ~is_old)))
    print(f"{num_bits} bits, seed {seed}: {sizes}; {found.old.sum()} and {(~found.old).sum()} label sets")
    print(f"  processor seconds: old {old_seconds:.1f}, new {new_seconds:.1f}, all {all_seconds:.1f}")
    for kind, low in (("soft", -found.ratio), ("hard", -1.0)):
        for name, codes in (("frozen", frozen), ("scratch", scratch), ("drawn", drawn)):
            values = "  ".join(f"{group} {value:.4f}" for group, value in found.errors(codes, low).items())
            print(f"  {kind} {name:8}{values}", flush=True)


def main() -> None:
    """Prints a block for each length and seed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", default="32", help="lengths, with commas")
    parser.add_argument("--seeds", default="0", help="which concepts are old, and where descents start, with commas")
    parser.add_argument("--all", action="store_true", help="all 195,834 rows, not N-21-list's 10,500")
    args = parser.parse_args()
    print(describe_machine())
    dataset = data.load_dataset("nuswide_labels")
    labels = dataset.labels
    if not args.all:
        labels = labels[data.make_split(dataset, "N-21-list", data.PROTOCOLS["N-21-list"], 0).train]
    for seed in map(int, args.seeds.split(",")):
        for num_bits in map(int, args.bits.split(",")):
            run(labels, num_bits, seed)


if __name__ == "__main__":
    main()
