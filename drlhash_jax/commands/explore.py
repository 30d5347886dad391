"""``explore``: a bundle as one page of thumbnails and codes that searches itself, without a network.

    python -m drlhash_jax.main explore --bundle=photos.drlh --images=photos --out=photos.html

Loads no JAX and no model.
"""

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_OUT = flags.DEFINE_string("out", None, "File of the page; only an earlier page is replaced.")
_IMAGES = flags.DEFINE_string("images", None, "Folder that was encoded; without it tiles show ids.")
_LIMIT = flags.DEFINE_integer("limit", 50_000, "Only the first rows.", lower_bound=1, upper_bound=50_000)


def run() -> None:
    """Writes the page, and says how large it is."""
    if not _BUNDLE.value or not _OUT.value:
        raise UserError("explore needs --bundle=NAME.drlh and --out=FILE.html")
    from drlhash_jax import explore

    done = explore.write_explorer(_BUNDLE.value, _OUT.value, _IMAGES.value, _LIMIT.value)
    print(f"written: {_OUT.value}, {done.rows} rows, {done.pictures} with a picture, {done.num_bytes:,} bytes")
