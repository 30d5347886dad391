"""``seal``: signs the records of a bundle; ``verify --sealed`` names every record that is not as it was sealed.

python -m drlhash_jax.main seal --new-key=key.pem
python -m drlhash_jax.main seal --bundle=photos.drlh --key=key.pem
python -m drlhash_jax.main verify --bundle=photos.drlh --sealed --public-key=key.public.pem
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_KEY = flags.DEFINE_string("key", None, "Private Ed25519 key in PEM, that of earlier seals if there are any.")
_NEW_KEY = flags.DEFINE_string("new-key", None, "Make a private key there, and the public one beside it.")


def run() -> None:
    """Makes a key, or seals a bundle and prints the seal's digest."""
    if bool(_NEW_KEY.value) == bool(_BUNDLE.value) or bool(_KEY.value) != bool(_BUNDLE.value):
        raise UserError("seal needs --bundle=NAME.drlh and --key=FILE, or --new-key=FILE alone")
    from drlhash_jax import bundles

    if _NEW_KEY.value:
        print(f"written:\n  {_NEW_KEY.value}, to sign with: keep it\n  {bundles.make_key(_NEW_KEY.value)}, to verify")
        return
    sealed = bundles.seal_bundle(_BUNDLE.value, _KEY.value)
    print(f"seal {sealed.number} of {_BUNDLE.value}: {sealed.digest}")
