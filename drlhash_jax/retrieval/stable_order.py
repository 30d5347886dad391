"""Average precision in the order (distance, row number): what a stable sort, or FAISS's flat index, returns.

It depends on how the database happens to be arranged, by up to .016 on real codes, and exists to be compared with
other software's numbers.
"""

import chex
import jax
import jax.numpy as jnp

from drlhash_jax.codes import PackedRows
from drlhash_jax.retrieval.average_precision import Cut, best_possible, check_cut
from drlhash_jax.retrieval.counting import count_by_distance, hamming_distance, share_label
from drlhash_jax.types import Array


def stable_precisions(query: PackedRows, database: PackedRows, *, max_distance: int, cuts: tuple[Cut, ...]) -> Array:
    """Average precisions of each query with ties in database order, by a counting sort.

    The first pass counts each distance; the second walks the rows in order and knows the rank of each from the count
    of its distance so far. All queries walk together, in constant memory.

    Args:
      query: packed queries, Q rows.
      database: packed database, N rows in the order that decides ties; a row of weight 0 is left out.
      max_distance: largest distance that can occur.
      cuts: definitions that share the passes, C of them.

    Returns:
      float32 ``[Q, C]``; 0 where no row is relevant.
    """
    chex.assert_rank([query.codes, database.codes], [2, 2])
    for cut in cuts:
        check_cut(*cut)
    counts = count_by_distance(query, database, max_distance=max_distance)
    num_queries, num_rows = query.codes.shape[0], database.codes.shape[0]
    # Cuts at the same rank differ in their divisor only. No row has a rank beyond the number of rows.
    last_ranks = sorted({_last_rank(cut, num_rows) for cut in cuts})
    limits = jnp.array(last_ranks, jnp.int32)
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
        inside = relevant[:, None] * (k[:, None] <= limits[None])
        total += inside * (hits[each, distance] / jnp.maximum(k, 1))[:, None]
        return (rank, hits, total, found + inside), None

    # Zeros made from the counts, so that they count as different on each device.
    nothing = jnp.repeat(0 * rank[:, :1], len(last_ranks), axis=1)
    (_, _, total, found), _ = jax.lax.scan(step, (rank, hits, nothing.astype(jnp.float32), nothing), database)

    def divide(cut: Cut) -> Array:
        place = last_ranks.index(_last_rank(cut, num_rows))
        if cut.denominator == "retrieved":
            return total[:, place] / jnp.maximum(found[:, place], 1)
        return total[:, place] / best_possible(counts, *cut)

    return jnp.stack([divide(cut) for cut in cuts], axis=-1)


def _last_rank(cut: Cut, num_rows: int) -> int:
    return num_rows if cut.top_k is None else min(cut.top_k, num_rows)


def stable_average_precision(
    query: PackedRows, database: PackedRows, *, max_distance: int, top_k: int | None = None, denominator: str = "min"
) -> Array:
    """Average precision of each query under one cut: float32 ``[Q]``; see `stable_precisions`."""
    cuts = (Cut(top_k, denominator),)
    return stable_precisions(query, database, max_distance=max_distance, cuts=cuts)[:, 0]
