"""``compact``: a bundle of codes as one segment, without the rows that were removed; or made of its shards.

python -m drlhash_jax.main compact --bundle=photos.drlh
"""

import os

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle, or that of the shards beside it; digests are checked first.")


def run() -> None:
    """Rewrites the bundle, or makes it of its shards, and prints its number of rows."""
    if not _BUNDLE.value:
        raise UserError("compact needs --bundle=NAME.drlh")
    from drlhash_jax import bundles

    shards = bundles.find_shards(_BUNDLE.value)
    if shards and not os.path.lexists(_BUNDLE.value):
        joined = bundles.join_shards(_BUNDLE.value)
        print(
            f"{joined} rows of {len(shards)} shards in one segment: {_BUNDLE.value}; the shards are not needed any more"
        )
        return
    print(f"{bundles.compact_bundle(_BUNDLE.value)} rows in one segment: {_BUNDLE.value}")
