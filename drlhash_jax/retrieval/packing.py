"""Bits to machine words: the form in which Hamming distances cost one XOR and one popcount."""

import chex
import jax.numpy as jnp

from drlhash_jax.types import Array

WORD_BITS = 32


def pack_words(bits: Array) -> Array:
    """Packs {0, 1} values into 32-bit words, first bit in the highest place, zero padding at the end.

    Args:
      bits: bool or integer ``[..., K]`` of {0, 1}.

    Returns:
      uint32 ``[..., ceil(K / 32)]``.
    """
    num_bits = bits.shape[-1]
    num_words = -(-num_bits // WORD_BITS)
    padding = [(0, 0)] * (bits.ndim - 1) + [(0, num_words * WORD_BITS - num_bits)]
    grouped = jnp.pad(jnp.asarray(bits).astype(jnp.uint32), padding)
    grouped = grouped.reshape(*bits.shape[:-1], num_words, WORD_BITS)
    place = jnp.arange(WORD_BITS - 1, -1, -1, dtype=jnp.uint32)
    place = jnp.expand_dims(place, range(grouped.ndim - 1))
    return jnp.sum(grouped << place, axis=-1, dtype=jnp.uint32)


def pack_labels(labels: Array) -> Array:
    """Brings labels into the form that counting compares.

    Args:
      labels: integer ``[N]`` or multi-hot ``[N, C]``.

    Returns:
      int32 ``[N]`` for integer labels, uint32 ``[N, W]`` for multi-hot ones.
    """
    chex.assert_rank(labels, {1, 2})
    return labels.astype(jnp.int32) if labels.ndim == 1 else pack_words(labels != 0)
