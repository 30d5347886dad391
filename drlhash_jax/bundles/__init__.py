"""Codes in use: a directory of packed codes with ids and digests, exact search in it, and files for other software.

NumPy and the standard library alone, so that commands which need no model start at once.
"""

from drlhash_jax.bundles.ask import Answer, ask, ask_by_id, parse_code, prefix_doubt
from drlhash_jax.bundles.bundle import Bundle, cut_codes, open_bundle
from drlhash_jax.bundles.clips import ClipMatch, ClipSearch, find_clip, frame_id
from drlhash_jax.bundles.dedup import count_pairs, find_groups, group_codes
from drlhash_jax.bundles.export import FORMATS, export_bundle
from drlhash_jax.bundles.facts import bundle_facts, count_codes, repeats_notice
from drlhash_jax.bundles.hamming import search, within
from drlhash_jax.bundles.ids import id_problem, read_id_lines
from drlhash_jax.bundles.seal import Sealed, find_seal_faults, make_key, seal_bundle
from drlhash_jax.bundles.shards import Shard, find_shards, join_shards, parse_shard, whole_bundle
from drlhash_jax.bundles.verify import check_bundle, find_faults
from drlhash_jax.bundles.write import append_rows, compact_bundle, create_bundle, remove_rows

__all__ = [
    "FORMATS",
    "Answer",
    "Bundle",
    "ClipMatch",
    "ClipSearch",
    "Sealed",
    "Shard",
    "append_rows",
    "ask",
    "ask_by_id",
    "bundle_facts",
    "check_bundle",
    "compact_bundle",
    "count_codes",
    "count_pairs",
    "create_bundle",
    "cut_codes",
    "export_bundle",
    "find_clip",
    "find_faults",
    "find_groups",
    "find_seal_faults",
    "find_shards",
    "frame_id",
    "group_codes",
    "id_problem",
    "join_shards",
    "make_key",
    "open_bundle",
    "parse_code",
    "parse_shard",
    "prefix_doubt",
    "read_id_lines",
    "remove_rows",
    "repeats_notice",
    "seal_bundle",
    "search",
    "whole_bundle",
    "within",
]
