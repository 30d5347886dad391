r"""``grow``: a finished database grows by new labelled rows; old rows keep their codes bit for bit.

    python -m drlhash_jax.main grow --model=runs/clip --bundle=clip.drlh --embeddings=new.npy --labels=new_labels.npy \\
        --out=grown
    python -m drlhash_jax.main grow --model=runs/photos --bundle=photos.drlh --images=FOLDER --out=grown

New rows may be of new classes and of old ones. The directory gets a model and ``codes.drlh``, the old rows and then the
new ones; the old model and bundle stay as they are. What is written can grow in the same way. ``--bits`` lets old codes
become longer, ``--max_changed_bits`` lets them change a little.
"""

import shlex
import sys
from typing import TYPE_CHECKING

from absl import flags

from drlhash_jax.errors import UserError

if TYPE_CHECKING:
    from drlhash_jax.growth import Grown

_MODEL = flags.DEFINE_string("model", None, "The run or model that made the codes, or an earlier --out.")
_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle that is to grow; it stays as it is.")
_EMBEDDINGS = flags.DEFINE_string(
    "embeddings", None, "New rows, inputs of the model: FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY."
)
_LABELS = flags.DEFINE_string(
    "labels", None, "Their labels, same forms, in the numbering of the old ones: integers [N], or 0 and 1 [N, C]."
)
_IMAGES = flags.DEFINE_string("images", None, "Folder of new images, with a sub-folder for each class.")
_IDS = flags.DEFINE_string("ids", None, "File of one id a line for the embeddings; by default numbers that go on.")
_OLD = flags.DEFINE_string(
    "old", None, "Rows that the model was fitted on, as new ones; by default those that its run recorded."
)
_OLD_LABELS = flags.DEFINE_string("old_labels", None, "Labels of --old, where that is a file.")
_BITS = flags.DEFINE_integer(
    "bits", None, "Length of all codes afterwards, more than now: old rows keep their bits and get further ones."
)
_CHANGED = flags.DEFINE_integer(
    "max_changed_bits", 0, "So many bits of each old code may change, where that makes the codes fit better together."
)
_OUT = flags.DEFINE_string("out", None, "Directory of the new model and the new bundle; must not exist.")


def _check_flags() -> None:
    if not (_MODEL.value and _BUNDLE.value and _OUT.value):
        raise UserError("grow needs --model=DIR, --bundle=NAME.drlh, --out=DIR, and --embeddings or --images")
    if bool(_IMAGES.value) == bool(_EMBEDDINGS.value):
        raise UserError("give one of --embeddings=FILE and --images=FOLDER")
    if bool(_EMBEDDINGS.value) != bool(_LABELS.value):
        raise UserError("--labels=FILE goes with --embeddings: the labels of images are the names of their sub-folders")
    if _IDS.value and _IMAGES.value:
        raise UserError("--ids goes with --embeddings: the ids of images are their paths")
    if _OLD_LABELS.value and not _OLD.value:
        raise UserError("--old_labels=FILE goes with --old=FILE")
    if _OLD.value and bool(_EMBEDDINGS.value) != bool(_OLD_LABELS.value):
        raise UserError("--old is like the new rows: a file with --old_labels for --embeddings, a folder for --images")


def _print_grown(grown: "Grown") -> None:
    names = ", ".join(grown.new_classes[:5]) + (", ..." if len(grown.new_classes) > 5 else "")
    count = len(grown.new_classes)
    added = f"{count} new class{'es' if count > 1 else ''} ({names})" if count else "no new class"
    old, new = grown.learnt_from
    before, now = grown.bits
    longer = f", {now - before} bits added to {before}" if now > before else ""
    most, mean = grown.changed
    few = f"at most {most} bit{'s' * (most > 1)} of a code changed, {mean:.2f} in the mean"
    state = few if most else "codes unchanged"
    print(
        f"{grown.old_rows} old rows of {grown.old_classes} classes{longer}, {state}: SHA-256 {grown.digest}",
        f"{grown.new_rows} new rows, {added}",
        f"learnt in {grown.seconds:.1f} s from {old} old rows and {new} new ones",
        sep="\n",
    )
    if grown.scores:
        print("mAP of rows that were held out, by the old network alone and now:")
    for name, score in grown.scores.items():
        print(f"  {name:11}  {score.before:.3f}  {score.after:.3f}  ({score.queries} queries)")


def run() -> None:
    """Grows, and prints what was kept, what came, and how well both are found."""
    _check_flags()
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import growth

    inputs = _IMAGES.value or _EMBEDDINGS.value
    places = _MODEL.value, _BUNDLE.value, inputs, _LABELS.value or "", _OUT.value
    options = _IDS.value, _OLD.value, _OLD_LABELS.value, _BITS.value, _CHANGED.value
    grown = growth.grow(growth.Request(*places, *options))
    for each in grown.skipped[:5]:
        print(f"left out: {each.path}: {each.reason}", file=sys.stderr)
    _print_grown(grown)
    out, query = shlex.quote(_OUT.value), "--image=FILE" if _IMAGES.value else "--embedding=FILE"
    print(
        f"written: {_OUT.value}",
        "next:",
        f"  python -m drlhash_jax.main query --bundle={out}/{growth.BUNDLE} --model={out} {query}",
        sep="\n",
    )
