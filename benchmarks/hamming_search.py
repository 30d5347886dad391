"""Search in 1,000,000 codes: FAISS's flat index, ours through FAISS, and ours by NumPy, on one core.

    python -m benchmarks.hamming_search

Codes are 1,000 centres with one bit in ten flipped, queries are 50 of them with one in twenty. All three must give the
same rows in the same order. Needs faiss-cpu.
"""

import faiss
import numpy as np

from benchmarks.timing import describe_machine, interleaved
from drlhash_jax.bundles import hamming

NUM_ROWS, NUM_QUERIES = 1_000_000, 50


def draw_codes(num_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Packed codes of queries ``[50, B]`` and of the database ``[1,000,000, B]``."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (1_000, num_bits // 8), dtype=np.uint8)
    flips = lambda num_rows, rate: np.packbits(rng.random((num_rows, num_bits), np.float32) < rate, axis=1)
    database = centres[rng.integers(0, len(centres), NUM_ROWS)] ^ flips(NUM_ROWS, 0.1)
    return database[:NUM_QUERIES] ^ flips(NUM_QUERIES, 0.05), database


def by_numpy(queries: np.ndarray, database: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Our search as it is without FAISS."""
    pairs, hamming._FAISS_PAIRS = hamming._FAISS_PAIRS, float("inf")
    try:
        return hamming.search(queries, database, k)
    finally:
        hamming._FAISS_PAIRS = pairs


def compare(num_bits: int, k: int) -> None:
    """Prints milliseconds a query, and ratios to FAISS."""
    queries, database = draw_codes(num_bits)
    index = faiss.IndexBinaryFlat(num_bits)
    index.add(database)
    functions = {
        "FAISS": lambda: index.search(queries, k),
        "ours, FAISS": lambda: hamming.search(queries, database, k),
        "ours, NumPy": lambda: by_numpy(queries, database, k),
    }
    expected = index.search(queries, k)
    for function in functions.values():
        assert all(np.array_equal(*pair) for pair in zip(function(), expected, strict=True))
    seconds = interleaved(functions, 5)
    print(f"{NUM_ROWS} x {num_bits} bits, k = {k}")
    for name, each in seconds.items():
        print(f"  {name:12} {each / NUM_QUERIES * 1e3:6.2f} ms a query, {each / seconds['FAISS']:.2f} of FAISS")


def main() -> None:
    """Runs all cases."""
    print(describe_machine())
    faiss.omp_set_num_threads(1)
    for num_bits, k in ((64, 10), (64, 1_000), (256, 10), (256, 1_000)):
        compare(num_bits, k)


if __name__ == "__main__":
    main()
