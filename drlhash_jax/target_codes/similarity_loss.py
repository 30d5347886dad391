"""The similarity loss of thesis Eq. 3.8-3.10, two ways to one value.

With relaxed codes Z = tanh(V) and S = 2 min(Y Y^T, 1) - 1,

    L(Z) = 1/(n^2 K^2) ||Z Z^T - K S||^2 + w/(nK) || |Z| - 1 ||^2.

`blockwise_similarity_loss` walks S in h x w blocks as the thesis does; `exact_similarity_loss` expands the square,

    ||Z Z^T - K S||^2 = ||Z^T Z||^2 - 2 K <S, Z Z^T> + n^2 K^2,

and needs no n x n matrix: rows of one label set g share their row of S, so <S, Z Z^T> = <S_G, M M^T> with the sums
M_g of Z over the set. For disjoint sets (every row has one label) S_G = 2 I - 1 1^T and the cost is linear in n;
otherwise it is quadratic in the number of distinct sets only. Neither ever holds S.

Several devices divide the rows of Z: an argument ``axis_name`` names their axis, z and its labels are then this
device's rows, and the loss is the same on all devices. Rows are filled up to a multiple of the number of devices with
z = 0 and no label set; ``num_rows`` is their number without the filling.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from drlhash_jax import parallel
from drlhash_jax.types import Array


def quantisation_loss(z: Array, *, num_rows: int | None = None, axis_name: str | None = None) -> Array:
    """Mean of (|z| - 1)^2 over all entries: how far relaxed codes are from binary (the second term of Eq. 3.8).

    Args:
      z: float32 ``[n, K]``.
      num_rows: rows on all devices without filling; None for n.
      axis_name: axis of the devices; None for one.

    Returns:
      float32 scalar.
    """
    num_rows = z.shape[0] if num_rows is None else num_rows
    squares = jnp.square(jnp.abs(z) - 1.0)
    if num_rows < z.shape[0] * parallel.num_shards(axis_name):
        valid = parallel.local_rows(_valid_rows(z, num_rows, axis_name), axis_name)
        squares *= valid[:, None]
    return parallel.differentiable_total(jnp.sum(squares), axis_name) / (num_rows * z.shape[1])


def _valid_rows(z: Array, num_rows: int, axis_name: str | None) -> Array:
    """1 for the rows of all devices, 0 for the filling behind them: float32 ``[n times devices]``."""
    return (jnp.arange(z.shape[0] * parallel.num_shards(axis_name)) < num_rows).astype(z.dtype)


def _block_residual(z_i: Array, y_i: Array, z_block: Array, y_block: Array, mask: Array) -> Array:
    """Row i of one block of Z Z^T - K S: float32 ``[w]``, zero where a column is padding."""
    similarity = 2.0 * jnp.minimum(y_block @ y_i, 1.0) - 1.0
    return mask * (z_block @ z_i - z_i.shape[0] * similarity)


def _blockwise_value_and_grad(
    z: Array, labels: Array, height: int, width: int, num_rows: int, axis_name: str | None
) -> tuple[Array, Array]:
    """Value, the same on all devices, and gradient in this device's rows."""
    n, num_bits = z.shape
    # Padding rows are masked out of the value; their gradient is dropped with them.
    valid = _valid_rows(z, num_rows, axis_name)
    as_blocks = lambda x, size: parallel.pad_rows(x, size).reshape(-1, size, *x.shape[1:])
    rows = tuple(as_blocks(x, height) for x in (z, labels, parallel.local_rows(valid, axis_name)))
    everywhere = parallel.gather_rows((z, labels), axis_name)
    columns = tuple(as_blocks(x, width) for x in (*everywhere, valid))

    def block(carry, column):
        (z_rows, y_rows, valid_rows), total, gradient = carry
        z_columns, y_columns, valid_columns = column
        residual = jax.vmap(_block_residual, in_axes=(0, 0, None, None, None))(
            z_rows, y_rows, z_columns, y_columns, valid_columns
        )
        residual *= valid_rows[:, None]
        carry = (z_rows, y_rows, valid_rows), total + jnp.sum(residual**2), gradient + residual @ z_columns
        return carry, None

    zero = parallel.vary(jnp.zeros((), z.dtype), axis_name)

    def block_row(total, row):
        # The partial sum starts anew in every row of blocks, which keeps float32 sums of 1e8 terms accurate.
        carry = row, zero, jnp.zeros_like(row[0])
        (_, row_total, gradient), _ = jax.lax.scan(block, carry, columns)
        return total + row_total, gradient

    value, gradient = jax.lax.scan(block_row, zero, rows)
    scale = 1.0 / (num_rows * num_bits) ** 2
    # S is symmetric: the columns contribute the same gradient as the rows.
    return scale * parallel.total(value, axis_name), 4.0 * scale * gradient.reshape(-1, num_bits)[:n]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _blockwise(z: Array, labels: Array, height: int, width: int, num_rows: int, axis_name: str | None) -> Array:
    return _blockwise_value_and_grad(z, labels, height, width, num_rows, axis_name)[0]


def _blockwise_forward(z, labels, *static):
    # Value and gradient come from the same residuals, so one pass over the blocks serves both directions.
    return _blockwise_value_and_grad(z, labels, *static)


def _blockwise_backward(height, width, num_rows, axis_name, gradient, cotangent):
    return cotangent * gradient, None


_blockwise.defvjp(_blockwise_forward, _blockwise_backward)


def blockwise_similarity_loss(
    z: Array, labels: Array, *, height: int, width: int, num_rows: int | None = None, axis_name: str | None = None
) -> Array:
    """1/(n^2 K^2) ||Z Z^T - K S||^2, accumulated over h x w blocks of S (thesis Alg. 1, Eq. 3.10).

    Block (r, c) holds rows r h .. (r+1) h - 1 and columns c w .. (c+1) w - 1; the last ones are padded and masked.

    Args:
      z: float32 ``[n, K]``, relaxed codes in [-1, 1].
      labels: float32 ``[n, C]`` multi-hot.
      height: h, rows of a block.
      width: w, columns of a block.
      num_rows: rows on all devices without filling; None for n.
      axis_name: axis of the devices that share the rows of blocks; None for one device.

    Returns:
      float32 scalar, differentiable in z.
    """
    chex.assert_rank([z, labels], [2, 2])
    chex.assert_equal_shape([z, labels], dims=0)
    return _blockwise(z, labels, height, width, z.shape[0] if num_rows is None else num_rows, axis_name)


@jax.custom_vjp
def _set_similarity(sums: Array, sets: Array) -> Array:
    """<S_G, M M^T> for sums M ``[G, K]`` and multi-hot sets ``[G, C]``."""
    return jnp.vdot(sums, _times_set_similarity(sums, sets))


_SET_BLOCK = 512


def _times_set_similarity(sums: Array, sets: Array) -> Array:
    """S_G M: float32 ``[G, K]``, in row blocks so that S_G is never whole."""
    num_sets = sums.shape[0]

    def block(rows: Array) -> Array:
        return (2.0 * jnp.minimum(rows @ sets.T, 1.0) - 1.0) @ sums

    blocks = parallel.pad_rows(sets, _SET_BLOCK).reshape(-1, _SET_BLOCK, sets.shape[1])
    return jax.lax.map(block, blocks).reshape(-1, sums.shape[1])[:num_sets]


def _set_similarity_forward(sums, sets):
    product = _times_set_similarity(sums, sets)
    return jnp.vdot(sums, product), (product, sets)


def _set_similarity_backward(saved, cotangent):
    product, sets = saved
    return 2.0 * cotangent * product, jnp.zeros_like(sets)


_set_similarity.defvjp(_set_similarity_forward, _set_similarity_backward)


def _disjoint_similarity(sums: Array, sets: Array) -> Array:
    """<S_G, M M^T> when no two sets share a label: S_G = 2 I - 1 1^T, with 0 - 1 on the diagonal of an empty set."""
    labelled = jnp.any(sets > 0, axis=1)
    return 2.0 * jnp.sum(jnp.where(labelled, jnp.sum(sums**2, axis=1), 0.0)) - jnp.sum(jnp.sum(sums, axis=0) ** 2)


# Up to this many sets the sums M are a matrix product, which is faster than a scatter and sums in blocks.
_MATMUL_SETS = 128


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _scatter_sums(z: Array, members: Array, num_sets: int) -> Array:
    """Sums of rows over label sets, by a scatter.

    A float32 scatter adds one row after the other: with 900,000 rows of .9 in one set the sum is off by .7 %, and the
    loss, a small difference of large terms, by 8 %. So entries become fixed-point numbers of two int32 parts, few
    enough bits each for the sums not to overflow. Sums of integers are exact, in any order.

    Args:
      z: float32 ``[n, K]`` in [-1, 1].
      members: int32 ``[n]``, number of each row's label set; rows with num_sets or more belong to none.
      num_sets: G, static.

    Returns:
      float32 ``[G, K]``; an entry of z counts with an error of 2^-22 at most up to a million rows.
    """
    num_bits = 30 - (z.shape[0] - 1).bit_length()
    total = lambda part: jax.ops.segment_sum(part.astype(jnp.int32), members, num_segments=num_sets).astype(z.dtype)
    scaled = z * 2.0**num_bits
    high = jnp.round(scaled)
    low = jnp.round((scaled - high) * 2.0 ** (num_bits + 1))
    return (total(high) + total(low) * 2.0 ** -(num_bits + 1)) * 2.0**-num_bits


def _scatter_sums_forward(z, members, num_sets):
    return _scatter_sums(z, members, num_sets), members


def _scatter_sums_backward(num_sets, members, cotangent):
    return jnp.take(cotangent, members, axis=0, mode="fill", fill_value=0.0), None


_scatter_sums.defvjp(_scatter_sums_forward, _scatter_sums_backward)


def exact_similarity_loss(
    z: Array,
    members: Array,
    sets: Array,
    *,
    disjoint: bool,
    num_rows: int | None = None,
    axis_name: str | None = None,
) -> Array:
    """1/(n^2 K^2) ||Z Z^T - K S||^2 through Z^T Z and the sums of Z over label sets.

    Args:
      z: float32 ``[n, K]``, relaxed codes in [-1, 1].
      members: int32 ``[n]``, number of each row's label set; G for filling.
      sets: float32 ``[G, C]`` multi-hot label sets, the same on all devices.
      disjoint: whether no two sets share a label.
      num_rows: rows on all devices without filling; None for n.
      axis_name: axis of the devices that share the rows; None for one device.

    Returns:
      float32 scalar, differentiable in z.
    """
    chex.assert_rank([z, members, sets], [2, 1, 2])
    num_bits = z.shape[1]
    num_rows = z.shape[0] if num_rows is None else num_rows
    num_sets = sets.shape[0]
    # Means instead of sums: every intermediate stays of order one, whatever n.
    gram = parallel.differentiable_total(z.T @ z, axis_name) / (num_rows * num_bits)
    if num_sets <= _MATMUL_SETS:
        sums = jax.nn.one_hot(members, num_sets, dtype=z.dtype, axis=0) @ z
    else:
        sums = _scatter_sums(z, members, num_sets)
    means = parallel.differentiable_total(sums, axis_name) / num_rows
    agreement = (_disjoint_similarity if disjoint else _set_similarity)(means, sets)
    return jnp.sum(gram**2) - 2.0 / num_bits * agreement + 1.0
