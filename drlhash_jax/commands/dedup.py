"""``dedup``: rows of a bundle whose codes are near each other, in groups; nothing is removed.

    python -m drlhash_jax.main dedup --bundle=photos.drlh --radius=2 --format=json
    python -m drlhash_jax.main dedup --bundle=photos.drlh --perceptual=phash --images=FOLDER --model=RUN --precision=.99

Codes of a supervised model are meant to be equal within a class: a group is a set of candidates, not of copies. It is
put together of steps within the radius, so that two of its rows may be further apart. For copies a perceptual hash of
the files is tried beside the codes, on attacked copies of a sample, and the better of the two is used.
"""

import json
import sys
from pathlib import Path

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_RADIUS = flags.DEFINE_integer("radius", 0, "Bits in which neighbours may differ.", lower_bound=0)
_PERCEPTUAL = flags.DEFINE_enum("perceptual", None, ["phash", "dhash"], "Find copies, by this hash or by the codes.")
_IMAGES = flags.DEFINE_string("images", None, "Folder of the bundle's images; for --perceptual.")
_MODEL = flags.DEFINE_string("model", None, "The run or model that made the codes; for --perceptual.")
_PRECISION = flags.DEFINE_float(
    "precision",
    0.99,
    "Share of copies that is expected among the pairs within the radius; with --perceptual.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "What is printed; json has one group a line.")


def _check_flags() -> None:
    if not _BUNDLE.value:
        raise UserError("dedup needs --bundle=NAME.drlh")
    if any(bool(flag.value) != bool(_PERCEPTUAL.value) for flag in (_IMAGES, _MODEL)):
        raise UserError("--perceptual=phash|dhash goes with --images=FOLDER and --model=DIR, and they with it")
    if _PERCEPTUAL.value and _RADIUS.present:
        raise UserError("--perceptual chooses the radius by --precision: leave out --radius")
    if _PRECISION.present and not _PERCEPTUAL.value:
        raise UserError("--precision goes with --perceptual")


def _copies(bundle) -> tuple[list, str]:
    """Groups of copies, and within what."""
    from drlhash_jax import copies

    asked = Path(_IMAGES.value), _PERCEPTUAL.value, _PRECISION.value
    found = copies.find_copies(bundle, _MODEL.value, *asked)
    print(
        f"by {found.num_copies} attacked copies and {found.num_different} pairs of different images of a sample:",
        file=sys.stderr,
    )
    for name, choice in found.choices.items():
        print(f"  {name}: {copies.shown(choice)}{' (used)' if name == found.used else ''}", file=sys.stderr)
    return found.groups, f"{found.choices[found.used].radius} bits of {found.used}"


def run() -> None:
    """Prints the groups."""
    _check_flags()
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import bundles

    bundle = bundles.open_bundle(_BUNDLE.value)
    if _PERCEPTUAL.value:
        found, within = _copies(bundle)
    else:
        found, within = bundles.find_groups(bundle, _RADIUS.value), f"{_RADIUS.value} bits"
    groups = [[bundle.id_of(row) for row in rows.tolist()] for rows in found]
    if _FORMAT.value == "json":
        for ids in groups:
            print(json.dumps({"ids": ids}, ensure_ascii=False))
        return
    for ids in groups:
        print(f"{len(ids)} rows", *(f"  {name}" for name in ids), sep="\n")
    print(f"{len(groups)} groups of {sum(map(len, groups))} rows within {within}: {_BUNDLE.value}")
