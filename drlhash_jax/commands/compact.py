"""``compact``: a bundle of codes as one segment, without the rows that were removed.

python -m drlhash_jax.main compact --bundle=photos.drlh
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle; its digests are checked first.")


def run() -> None:
    """Rewrites the bundle and prints its number of rows."""
    if not _BUNDLE.value:
        raise UserError("compact needs --bundle=NAME.drlh")
    from drlhash_jax import bundles

    print(f"{bundles.compact_bundle(_BUNDLE.value)} rows in one segment: {_BUNDLE.value}")
