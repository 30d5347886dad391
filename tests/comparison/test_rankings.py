"""Rankings of real values against loops, and equal codes that are equal whatever float32 does."""

import numpy as np

from drlhash_jax.comparison.rankings import Labels, rank_by_cosine, rank_by_signs


def precision(scores, relevant):
    """By a loop over ranks; no two scores are equal."""
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    found, total = 0, 0.0
    for rank, row in enumerate(order, 1):
        if relevant[row]:
            found += 1
            total += found / rank
    return total / found


def draw(num_queries, num_rows, width, seed=0):
    rng = np.random.default_rng(seed)
    query, database = (rng.normal(size=(n, width)).astype(np.float32) for n in (num_queries, num_rows))
    return query, database, Labels(np.arange(num_queries) % 3, np.arange(num_rows) % 3)


def test_cosines_against_a_loop():
    query, database, labels = draw(5, 23, 4)
    found = rank_by_cosine(query, database, labels, None)
    for row, value in enumerate(found):
        cosine = [query[row] @ x / np.linalg.norm(x) for x in database]
        np.testing.assert_allclose(value, precision(cosine, labels.database == labels.query[row]), rtol=1e-6)


def test_signs_against_a_loop_and_in_any_order():
    query, _, labels = draw(5, 60, 9)
    codes = np.random.default_rng(1).permutation(2**9)[:60, None] >> np.arange(9)[None] & 1
    found = rank_by_signs(query, codes.astype(np.uint8), labels, None)
    for row, value in enumerate(found):
        scores = (query[row].astype(np.float64) * (2 * codes - 1)).sum(axis=1)
        np.testing.assert_allclose(value, precision(scores, labels.database == labels.query[row]), rtol=1e-6)
    # Equal codes, half of them relevant: the expectation does not depend on the order of the rows.
    doubled = np.concatenate([codes, codes]).astype(np.uint8)
    twice = Labels(labels.query, np.concatenate([labels.database, (labels.database + 1) % 3]))
    order = np.random.default_rng(2).permutation(120)
    np.testing.assert_array_equal(
        rank_by_signs(query, doubled, twice, 10),
        rank_by_signs(query, doubled[order], Labels(twice[0], twice[1][order]), 10),
    )
