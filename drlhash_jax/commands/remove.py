"""``remove``: rows out of a bundle of codes; ``compact`` gives their room back.

python -m drlhash_jax.main remove --bundle=photos.drlh --ids=gone.txt
"""

from pathlib import Path

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_IDS = flags.DEFINE_string("ids", None, "File of one id a line.")


def run() -> None:
    """Removes the rows and prints how many are left."""
    if not _BUNDLE.value or not _IDS.value:
        raise UserError("remove needs --bundle=NAME.drlh and --ids=FILE, one id a line")
    from drlhash_jax import bundles

    ids = bundles.read_id_lines(Path(_IDS.value))
    left = bundles.remove_rows(_BUNDLE.value, ids)
    print(f"{len(ids)} rows removed, {left} left: {_BUNDLE.value}")
