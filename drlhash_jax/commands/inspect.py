"""``inspect``: what is in a bundle of codes.

python -m drlhash_jax.main inspect --bundle=photos.drlh
"""

import sys

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")


def run() -> None:
    """Prints rows, bits, segments, model, and how many codes are different."""
    if not _BUNDLE.value:
        raise UserError("inspect needs --bundle=NAME.drlh")
    from drlhash_jax import bundles

    bundle = bundles.open_bundle(_BUNDLE.value)
    for name, value in bundles.bundle_facts(bundle).items():
        print(f"{name:<15} {value}")
    if notice := bundles.repeats_notice(bundles.count_codes(bundle.codes), len(bundle.codes)):
        print(f"note: {notice}", file=sys.stderr)
