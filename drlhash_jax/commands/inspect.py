"""``inspect``: what is in a bundle of codes.

python -m drlhash_jax.main inspect --bundle=photos.drlh
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")


def run() -> None:
    """Prints rows, bits, segments, model, and how many codes are different."""
    if not _BUNDLE.value:
        raise UserError("inspect needs --bundle=NAME.drlh")
    from drlhash_jax import bundles

    for name, value in bundles.bundle_facts(bundles.open_bundle(_BUNDLE.value)).items():
        print(f"{name:<15} {value}")
