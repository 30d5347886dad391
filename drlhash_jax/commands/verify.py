"""``verify``: whether a bundle of codes is bit for bit what was written.

python -m drlhash_jax.main verify --bundle=photos.drlh
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")


def run() -> None:
    """Prints every fault; exit code 1 if there is any."""
    if not _BUNDLE.value:
        raise UserError("verify needs --bundle=NAME.drlh")
    from drlhash_jax import bundles

    faults = bundles.find_faults(_BUNDLE.value)
    for fault in faults:
        print(fault)
    if faults:
        raise UserError(f"{_BUNDLE.value} has {len(faults)} fault(s): write it again from its source")
    print(f"{_BUNDLE.value} is what was written")
