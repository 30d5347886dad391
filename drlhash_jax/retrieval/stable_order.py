"""Average precision in the order (distance, row number): what a stable sort, or FAISS's flat index, returns.

It depends on how the database happens to be arranged, by up to .016 on real codes, and exists to be compared with
other software's numbers.
"""

import chex
import jax
import jax.numpy as jnp

from drlhash_jax.retrieval.average_precision import best_possible, check_cut
from drlhash_jax.retrieval.counting import count_by_distance, hamming_distance, share_label
from drlhash_jax.types import Array, PackedRows


def stable_average_precision(
    query: PackedRows, database: PackedRows, *, max_distance: int, top_k: int | None = None, denominator: str = "min"
) -> Array:
    """Average precision of each query with ties in database order, by a counting sort.

    The first pass counts each distance; the second walks the rows in order and knows the rank of each from the count
    of its distance so far. All queries take a step together, in constant memory.

    Args:
      query: packed queries, Q rows.
      database: packed database, N rows in the order that decides ties; a row of weight 0 is left out.
      max_distance: largest distance that can occur.
      top_k: ranks that count; None for all.
      denominator: "min", "all" or "retrieved", as in `average_precision`.

    Returns:
      float32 ``[Q]``; 0 where no row is relevant.
    """
    chex.assert_rank([query.codes, database.codes], [2, 2])
    check_cut(top_k, denominator)
    counts = count_by_distance(query, database, max_distance=max_distance)
    divisor = best_possible(counts, top_k, denominator)
    num_queries = query.codes.shape[0]
    each = jnp.arange(num_queries)
    # Ranks so far and relevant ranks so far at each distance, starting where the block starts.
    rank = jnp.cumsum(counts.total, axis=-1) - counts.total
    hits = jnp.cumsum(counts.relevant, axis=-1) - counts.relevant

    def step(carry, row):
        rank, hits, total, found = carry
        code, label, weight = row
        distance = hamming_distance(code, query.codes)
        relevant = (share_label(label, query.labels) & (weight > 0)).astype(jnp.int32)
        rank = rank.at[each, distance].add((weight > 0).astype(jnp.int32))
        hits = hits.at[each, distance].add(relevant)
        k = rank[each, distance]
        inside = relevant if top_k is None else relevant * (k <= top_k)
        total += inside * (hits[each, distance] / jnp.maximum(k, 1))
        return (rank, hits, total, found + inside), None

    # Zeros made from the counts, so that they count as different on each device.
    start = (rank, hits, 0.0 * divisor, 0 * divisor)
    (_, _, total, found), _ = jax.lax.scan(step, start, database)
    return total / (jnp.maximum(found, 1) if denominator == "retrieved" else divisor)
