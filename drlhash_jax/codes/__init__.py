"""Codes as NumPy arrays and as files, without JAX: packing, checks, health, and reading what other software wrote."""

from drlhash_jax.codes.checks import (
    as_codes,
    as_finite,
    as_label_pair,
    as_labels,
    check_rank,
    check_shapes,
    count_unlabelled,
)
from drlhash_jax.codes.code_arrays import CodeArray, check_together, read_codes
from drlhash_jax.codes.code_files import load_codes, read_code_facts, save_codes
from drlhash_jax.codes.grouping import PackedRows, pack_distinct, pack_in_order, pack_label_rows
from drlhash_jax.codes.health import bit_balance, bit_correlation, bit_entropy, collisions, occupancy

__all__ = [
    "CodeArray",
    "PackedRows",
    "as_codes",
    "as_finite",
    "as_label_pair",
    "as_labels",
    "bit_balance",
    "bit_correlation",
    "bit_entropy",
    "check_rank",
    "check_shapes",
    "check_together",
    "collisions",
    "count_unlabelled",
    "load_codes",
    "occupancy",
    "pack_distinct",
    "pack_in_order",
    "pack_label_rows",
    "read_code_facts",
    "read_codes",
    "save_codes",
]
