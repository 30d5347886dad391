"""Average precision of codes that are not yet bits, under relevance that is not yet certain.

With h in [-1, 1]^K, d_ij = (K - h_i . h_j) / 2 is a Hamming distance where h are signs. Row j counts in the two bins
that d_ij lies between,

    w_ijb = max(0, 1 - |d_ij - b|),  c_ib = sum_j w_ijb,  r_ib = sum_j w_ijb rho_ij,      b = 0 .. K

with rho_ij the probability that j is relevant to i, if i is what a hypothesis says. With C and R their sums over
smaller b, the row in the middle of a bin stands behind C + c / 2 rows, R + r / 2 of them relevant, and

    AP_i = sum_b r_ib (R_ib + r_ib / 2 + 1/2) / (C_ib + c_ib / 2 + 1/2) / sum_b r_ib.

(Histograms with linear bins: Ustinova and Lempitsky, NIPS 2016; average precision of them: Cakir, He, Xia, Kulis and
Sclaroff, "Deep metric learning to rank", CVPR 2019. That relevance is a probability, and the halves, are ours.)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from drlhash_jax.types import Array


def soft_average_precision(
    query: Array, database: Array, weights: Array, count_relevant: Callable[[Array], Array]
) -> Array:
    """AP of each query under each of H hypotheses, float32 ``[B, H]``; 0 where nothing can be relevant.

    Args:
      query: float32 ``[B, K]`` in [-1, 1], h_i.
      database: float32 ``[M, K]`` in [-1, 1], h_j.
      weights: float32 ``[B, M]``, 0 for pairs that do not count.
      count_relevant: w float32 ``[B, M]`` -> sum_j w_ij rho_ij, float32 ``[B, H]``.
    """
    num_bits = query.shape[1]
    distances = 0.5 * (num_bits - query @ database.T)

    # What a bin holds is computed again for its gradient, so that no array has all pairs and all bins.
    @jax.checkpoint
    def count(before: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], Array]:
        inside = jnp.maximum(0.0, 1.0 - jnp.abs(distances - place)) * weights
        c, r = jnp.sum(inside, axis=1, keepdims=True), count_relevant(inside)
        rows, relevant = before
        precision = (relevant + 0.5 * r + 0.5) / (rows + 0.5 * c + 0.5)
        return (rows + c, relevant + r), r * precision

    # Zeros that vary with the device, as the rows do.
    zeros = 0.0 * count_relevant(distances)
    start = zeros[:, :1], zeros
    (_, relevant), terms = jax.lax.scan(count, start, jnp.arange(num_bits + 1, dtype=jnp.float32))
    return jnp.sum(terms, axis=0) / jnp.maximum(relevant, 1e-6)
