"""Codes of cells of the posterior, improved bit by bit where average precision is that of the bits themselves.

A network over posteriors p float32 ``[C]`` learns with h in (-1, 1), and what its bits then lose to h no further step
can win back. Here rows are put into M cells by k-means of the roots of p (where a squared distance is twice one less
the Bhattacharyya coefficient), and the codes of cells, at first the network's, are searched for directly: with n_j rows
in cell j and p_j their mean, the expected average precision that `soft_ranking` defines,

    J = sum_i n_i sum_c p_ic AP_ic / sum_i n_i,     w_ij = n_j - [i = j],     rho_jc = p_jc,

is known in closed form after any one bit of any one cell is flipped: as a query, its distances all change by one; for
each other query, one cell moves to the next distance, which changes two terms of a sum. A round computes what all M K
flips would win and makes as many of the best, one a cell, as raise J together, until no flip wins. A row gets the code
of the nearest cell. (Cells of a quantiser with codes whose Hamming distances tell how alike they are: "Polysemous
codes", Douze, Jegou and Perronnin, ECCV 2016; that these are chosen for average precision is ours.)
"""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.cluster.vq

from drlhash_jax.methods.soft_ranking import soft_average_precision
from drlhash_jax.training import Batch, Phase, Start, State
from drlhash_jax.types import Array

# Rows of a cell, on average, at least.
_ROWS_PER_CELL = 3
# Rounds: where no flip wins any more, they do nothing.
_NUM_ROUNDS = 60
# Multiplications of a round. Long codes and many classes make do with fewer cells.
_MOST_PRODUCTS = 1e11
# What a flip must win, in J: less is rounding.
_LEAST_GAIN = 1e-7
_KMEANS_ROUNDS = 15
# Rows of which J decides between the codes of cells and those of the network.
_JUDGED_ROWS = 3_000
# Share of the cells that a round flips at first, and factors where that raised J and where it did not.
_FIRST_SHARE, _MOST_SHARE, _MORE, _FEWER = 0.02, 0.2, 1.5, 1.0 / 3.0
# Queries whose counts are in memory together.
_BLOCK = 32


def make_cells(posterior: np.ndarray, num_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells of rows by k-means of the roots of their posteriors.

    Args:
      posterior: float32 ``[m, C]``.
      num_cells: M, at most; cells that no row is in are left out.

    Returns:
      Mean posteriors p float32 ``[M, C]``, and rows n float32 ``[M]``.
    """
    roots = np.sqrt(posterior.astype(np.float64))
    start = np.random.default_rng(0).permutation(len(roots))[:num_cells]
    with warnings.catch_warnings():
        # Of empty cells.
        warnings.simplefilter("ignore", UserWarning)
        _, cell = scipy.cluster.vq.kmeans2(roots, roots[start], _KMEANS_ROUNDS, minit="matrix")
    names, cell, counts = np.unique(cell, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), posterior.shape[1]))
    np.add.at(sums, cell, posterior)
    return np.float32(sums / counts[:, None]), np.float32(counts)


def expected_precision(codes: Array, counts: Array, posterior: Array) -> Array:
    """J, a scalar, of codes float32 ``[M, K]`` of {-1, 1} for cells of n ``[M]`` rows with posteriors p ``[M, C]``."""
    weights = counts[None] - jnp.eye(len(counts))
    found = soft_average_precision(codes, codes, weights, lambda inside: inside @ posterior)
    return jnp.sum(counts * jnp.sum(posterior * found, axis=1)) / jnp.sum(counts)


def _before(held: Array) -> Array:
    """What smaller distances hold."""
    return jnp.cumsum(held, axis=0) - held


def _later(x: Array) -> Array:
    """What was at distance b, at b + 1."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


def _sooner(x: Array) -> Array:
    """What was at distance b, at b - 1."""
    return jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])


def flip_gains(codes: Array, counts: Array, posterior: Array) -> Array:
    """What J wins where one bit of one cell is flipped.

    Args:
      codes: h float32 ``[M, K]`` of {-1, 1}.
      counts: n float32 ``[M]``.
      posterior: p float32 ``[M, C]``.

    Returns:
      Gains float32 ``[M, K]``.
    """
    num_cells, num_bits = codes.shape
    places = jnp.arange(num_bits + 1, dtype=jnp.float32)
    # (1, p_j) times (1, h_j): sums over rows of a distance, and of those sums by the sign of each bit.
    known = jnp.concatenate([jnp.ones_like(posterior[:, :1]), posterior], axis=1)
    signs = jnp.concatenate([jnp.ones_like(codes[:, :1]), codes], axis=1)
    summed = (known[:, :, None] * signs[:, None, :]).reshape(num_cells, -1)

    def gains_of(i: Array) -> tuple[Array, Array, Array]:
        # Other rows of the own cell stay at distance 0.
        moving = jnp.where(jnp.arange(num_cells) == i, 0.0, counts)
        staying = jnp.zeros((num_bits + 1, known.shape[1])).at[0].set((counts[i] - 1.0) * known[i])
        distance = 0.5 * (num_bits - codes @ codes[i])
        inside = (distance[None] == places[:, None]) * moving[None]
        sums = (inside @ summed).reshape(num_bits + 1, known.shape[1], num_bits + 1)
        now = sums[:, :, 0] + staying
        chances = (posterior[i] / jnp.maximum(jnp.sum(now[:, 1:], axis=0), 1e-6))[None]

        def value(held: Array) -> Array:
            """sum_c p_ic AP_ic of what each distance holds, ``[K + 1, 1 + C]``."""
            middle = _before(held) + 0.5 * held + 0.5
            return jnp.sum(held[:, 1:] * middle[:, 1:] * chances / middle[:, :1])

        agreeing = 0.5 * (sums[:, :, :1] + codes[i][None, None] * sums[:, :, 1:])
        flipped = _later(agreeing) + _sooner(sums[:, :, :1] - agreeing) + staying[:, :, None]
        as_query = counts[i] * (jax.vmap(value, in_axes=2)(flipped) - value(now))

        # Cell j goes from one distance to the next: with x = w_j p_j, r + s x stands in for r at the nearer of both,
        # and r - s x behind s x more at the farther.
        r, before = now[:, 1:], _before(now)
        middle = before + 0.5 * now + 0.5
        top, bottom = jnp.sum(chances * r * middle[:, 1:], axis=1), middle[:, 0]
        x = moving[:, None] * posterior
        near_slope, far_slope = (x @ (chances * (before[:, 1:] + part)).T for part in (r + 0.5, 0.5))
        curve = 0.5 * jnp.sum(x**2 * chances, axis=1)
        at = distance.astype(jnp.int32)
        row = jnp.arange(num_cells)

        def moved(near: Array, s: float) -> Array:
            near = jnp.clip(near, 0, num_bits - 1)
            far, width = near + 1, 0.5 * s * moving
            first = (top[near] + s * near_slope[row, near] + curve) / (bottom[near] + width)
            second = (top[far] - s * far_slope[row, far] - curve) / (bottom[far] + width)
            return counts[i] * (first + second - top[near] / bottom[near] - top[far] / bottom[far])

        return as_query, moved(at, -1.0), moved(at - 1, 1.0)

    as_query, away, closer = jax.lax.map(gains_of, jnp.arange(num_cells), batch_size=_BLOCK)
    positive = 0.5 * (1.0 + codes)
    # A bit that agrees with the query's moves its cell away when it is flipped.
    where_positive = away.T @ positive + closer.T @ (1.0 - positive)
    where_negative = closer.T @ positive + away.T @ (1.0 - positive)
    return (as_query + jnp.where(codes > 0, where_positive, where_negative)) / jnp.sum(counts)


def _flip_best(codes: Array, gains: Array, most: Array) -> tuple[Array, Array]:
    """Codes with the best bit of some cells flipped, as many as win most, and how many these are."""
    won = jnp.max(gains, axis=1)
    rank = jnp.argsort(jnp.argsort(-won))
    chosen = (won > _LEAST_GAIN) & (rank < most)
    best = jax.nn.one_hot(jnp.argmax(gains, axis=1), codes.shape[1])
    return codes * (1.0 - 2.0 * chosen[:, None] * best), jnp.sum(chosen)


def objective(codes: Array, counts: Array, posterior: Array, lengths: tuple[int, ...]) -> Array:
    """Mean of J over the first bits of codes float32 ``[M, K]``, of each length."""
    return sum(expected_precision(codes[:, :length], counts, posterior) for length in lengths) / len(lengths)


def improve(search: dict[str, Array], counts: Array, posterior: Array, lengths: tuple[int, ...]) -> dict[str, Array]:
    """One round.

    Args:
      search: "codes" float32 ``[M, K]``, "value" (J), "share" of the cells to flip first, "ended".
      counts: n float32 ``[M]``.
      posterior: p float32 ``[M, C]``.
      lengths: of codes, K last.

    Returns:
      The same after a round.
    """
    codes = search["codes"]
    each = [flip_gains(codes[:, :length], counts, posterior) for length in lengths]
    gains = sum(jnp.pad(won, [(0, 0), (0, lengths[-1] - won.shape[1])]) for won in each) / len(lengths)

    def attempt(tried: dict[str, Array]) -> dict[str, Array]:
        most = jnp.maximum(tried["share"] * len(codes), 1.0)
        new, num_flips = _flip_best(codes, gains, most)
        value = objective(new, counts, posterior, lengths)
        better = value > search["value"]
        share = jnp.where(better, jnp.minimum(tried["share"] * _MORE, _MOST_SHARE), tried["share"] * _FEWER)
        return {
            "codes": jnp.where(better, new, codes),
            "value": jnp.where(better, value, search["value"]),
            "share": share,
            "better": better,
            # A single flip wins what it should: where it does not, what it wins is rounding.
            "ended": ~better & ((most <= 1.0) | (num_flips == 0)),
        }

    tried = search | {"better": jnp.bool_(False)}
    found = jax.lax.while_loop(lambda tried: ~tried["better"] & ~tried["ended"], attempt, tried)
    return {name: found[name] for name in search}


def cells_phase(
    codes_of: Callable[[Mapping[str, Any], Array], Array], num_cells: int, lengths: tuple[int, ...]
) -> Phase:
    """Hands on "params" with "cells": "roots" float32 ``[M, C]`` and "codes" float32 ``[M, K]`` of {-1, 1}.

    Without them where the codes of cells have no higher J for rows than the network's, and for multi-label rows.

    Args:
      codes_of: (params, posterior ``[B, C]``) -> the network's codes float32 ``[B, K]`` of {-1, 1}.
      num_cells: M, at most; a third of the rows is another bound.
      lengths: at which the first bits are to be good codes, K last.
    """
    judge = jax.jit(functools.partial(objective, lengths=lengths))

    def init(key: Array, begin: Start) -> State:
        params, posterior = begin.before["params"], np.asarray(begin.before["posterior"])
        if begin.labels.ndim == 2:
            return State(jnp.zeros((), jnp.int32), {}, extra={"network": params})
        products = (lengths[-1] + 1) ** 2 * (posterior.shape[1] + 1)
        most = min(num_cells, -(-len(posterior) // _ROWS_PER_CELL), int(np.sqrt(_MOST_PRODUCTS / products)))
        means, counts = make_cells(posterior, max(most, 1))
        codes = codes_of(params, means)
        search = {"codes": codes, "value": judge(codes, counts, means)}
        search |= {"share": jnp.float32(_FIRST_SHARE), "ended": jnp.bool_(False)}
        judged = posterior[:: -(-len(posterior) // _JUDGED_ROWS)]
        extra = {"network": params, "means": means, "counts": counts, "judged": judged}
        return State(jnp.zeros((), jnp.int32), search, extra=extra)

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        if not state.params:
            return state, {"loss": jnp.zeros(())}
        # Every device computes the same.
        go_on = lambda search: improve(search, state.extra["counts"], state.extra["means"], lengths)
        search = jax.lax.cond(state.params["ended"], lambda search: search, go_on, state.params)
        return state.replace(params=search), {"loss": -search["value"]}

    def finish(state: State) -> dict[str, Any]:
        network = state.extra["network"]
        if not state.params:
            return {"params": network}
        judged = state.extra["judged"]
        cells = {"roots": jnp.sqrt(state.extra["means"]), "codes": state.params["codes"]}
        value = lambda codes: judge(codes, jnp.ones(len(judged)), judged)
        better = value(cell_codes(cells, judged)) > value(codes_of(network, judged))
        return {"params": network | ({"cells": cells} if better else {})}

    return Phase("cells", _NUM_ROUNDS, 0, init, step, finish=finish, needs_inputs=False)


def cell_codes(cells: Mapping[str, Array], posterior: Array) -> Array:
    """Codes float32 ``[B, K]`` of {-1, 1} of the nearest cells of posteriors ``[B, C]``."""
    return cells["codes"][jnp.argmax(jnp.sqrt(posterior) @ cells["roots"].T, axis=1)]
