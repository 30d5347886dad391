"""``dedup``: rows of a bundle whose codes are near each other, in groups; nothing is removed.

    python -m drlhash_jax.main dedup --bundle=photos.drlh --radius=2 --format=json

Codes of a supervised model are meant to be equal within a class: a group is a set of candidates, not of copies. It is
put together of steps within the radius, so that two of its rows may be further apart.
"""

import json

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle.")
_RADIUS = flags.DEFINE_integer("radius", 0, "Bits in which neighbours may differ.", lower_bound=0)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "What is printed; json has one group a line.")


def run() -> None:
    """Prints the groups."""
    if not _BUNDLE.value:
        raise UserError("dedup needs --bundle=NAME.drlh")
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import bundles

    bundle = bundles.open_bundle(_BUNDLE.value)
    groups = [[bundle.id_of(row) for row in rows.tolist()] for rows in bundles.find_groups(bundle, _RADIUS.value)]
    if _FORMAT.value == "json":
        for ids in groups:
            print(json.dumps({"ids": ids}, ensure_ascii=False))
        return
    for ids in groups:
        print(f"{len(ids)} rows", *(f"  {name}" for name in ids), sep="\n")
    print(f"{len(groups)} groups of {sum(map(len, groups))} rows within {_RADIUS.value} bits: {_BUNDLE.value}")
