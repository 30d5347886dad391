"""``verify``: whether a bundle of codes is bit for bit what was written, and with ``--sealed`` what was signed.

python -m drlhash_jax.main verify --bundle=photos.drlh
python -m drlhash_jax.main verify --bundle=photos.drlh --sealed --public-key=key.public.pem
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_SEALED = flags.DEFINE_bool("sealed", False, "Also compare its records with those of its last seal.")
_PUBLIC_KEY = flags.DEFINE_string("public-key", None, "Public Ed25519 key in PEM; for --sealed.")
# Whoever replaced everything is not worth a million lines.
_MOST_LINES = 100


def _print_faults(faults: list[str]) -> None:
    for fault in faults[:_MOST_LINES]:
        print(fault)
    if len(faults) > _MOST_LINES:
        print(f"and {len(faults) - _MOST_LINES} more")


def run() -> None:
    """Prints the faults; exit code 1 if there is any."""
    if not _BUNDLE.value:
        raise UserError("verify needs --bundle=NAME.drlh")
    if _SEALED.value != bool(_PUBLIC_KEY.value):
        raise UserError("--sealed goes with --public-key=FILE, and it with --sealed")
    from drlhash_jax import bundles

    if not _SEALED.value:
        faults = bundles.find_faults(_BUNDLE.value)
        _print_faults(faults)
        if faults:
            raise UserError(f"{_BUNDLE.value} has {len(faults)} fault(s): write it again from its source")
        print(f"{_BUNDLE.value} is what was written")
        return
    faults, sealed = bundles.find_seal_faults(_BUNDLE.value, _PUBLIC_KEY.value)
    _print_faults(faults)
    if faults:
        raise UserError(f"{_BUNDLE.value} is not what was sealed: {len(faults)} fault(s)")
    print(f"{_BUNDLE.value} is what was sealed, by seal {sealed.number}: {sealed.digest}")
