r"""``encode``: images or embeddings to a bundle of codes, by a saved model.

    python -m drlhash_jax.main encode --model=RUN --images=FOLDER --bundle=photos.drlh
    python -m drlhash_jax.main encode --model=RUN --embeddings=clip.npy --ids=ids.txt --bundle=clip.drlh

Images are found in sub-folders too; hidden names, links and broken files are left out and listed. With --append the
images that are there by name are not coded again, so that the same command goes on after a kill. With --shard=i/n the
i-th of n parts gets a bundle of its own beside NAME.drlh, wherever it runs; ``compact --bundle=NAME.drlh`` joins them.
"""

import sys
from pathlib import Path

from absl import flags

from drlhash_jax.errors import UserError

_MODEL = flags.DEFINE_string("model", None, "A finished run, or its model/: the directory that has model.json.")
_BUNDLE = flags.DEFINE_string("bundle", None, "Directory of the bundle, by custom NAME.drlh.")
_IMAGES = flags.DEFINE_string("images", None, "Folder of images; ids are the paths in it.")
_EMBEDDINGS = flags.DEFINE_string(
    "embeddings", None, "Inputs of the model: FILE.npy (read piece by piece), FILE.npz:KEY or FILE.safetensors:KEY."
)
_IDS = flags.DEFINE_string("ids", None, "File of one id a line for the embeddings; by default row numbers.")
_BITS = flags.DEFINE_integer("bits", None, "Length of a selection that the run stored; by default all bits.")
_SELECTOR = flags.DEFINE_string("selector", None, "Who made that selection, such as ppo.")
_ROLE = flags.DEFINE_enum(
    "role", None, ["query", "database"], "Side of the codes; needed where the model codes the two apart."
)
_LOGITS = flags.DEFINE_bool("logits", False, "Keep the logits of every row as float16, for query --rerank.")
_APPEND = flags.DEFINE_bool("append", False, "Add to a bundle of the same model, with what it was made with.")
_SHARD = flags.DEFINE_string(
    "shard", None, "i/n: the i-th of n parts of the inputs, as NAME-i-of-n.drlh; the same part twice changes nothing."
)


def check_flags() -> None:
    """Raises UserError where flags are missing, or do not go together."""
    if not _MODEL.value or not _BUNDLE.value:
        raise UserError("encode needs --model=DIR, --bundle=NAME.drlh, and --images=FOLDER or --embeddings=FILE")
    if bool(_IMAGES.value) == bool(_EMBEDDINGS.value):
        raise UserError("give one of --images=FOLDER and --embeddings=FILE")
    if _IDS.value and _IMAGES.value:
        raise UserError("--ids goes with --embeddings: the ids of images are their paths")
    if _APPEND.value and _SHARD.value:
        raise UserError("--shard does not go with --append: join the shards by compact first")
    settled = [flag.name for flag in (_BITS, _SELECTOR, _ROLE, _LOGITS) if flag.present]
    if _APPEND.value and settled:
        raise UserError(f"--{settled[0]} does not go with --append: the bundle says it")


def run() -> None:
    """Fills the bundle, and prints how many rows it got and what was left out."""
    check_flags()
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import bundles, serving, terminal

    shard = bundles.parse_shard(_SHARD.value) if _SHARD.value else None
    if shard and shard.path(_BUNDLE.value).exists():
        there = serving.existing_target(shard.path(_BUNDLE.value), _MODEL.value)
        print(f"0 rows written: {there.path}, {len(there.ids)} were there already")
        return
    if _APPEND.value:
        target = serving.existing_target(_BUNDLE.value, _MODEL.value)
    else:
        settled = _BITS.value, _SELECTOR.value, _ROLE.value, _LOGITS.value
        target = serving.new_target(_BUNDLE.value, _MODEL.value, *settled, shard)
    with terminal.counted_progress("encoding") as on_rows:
        if _IMAGES.value:
            filled = serving.encode_folder(target, Path(_IMAGES.value), on_rows)
        else:
            ids = Path(_IDS.value) if _IDS.value else None
            filled = serving.encode_array(target, _EMBEDDINGS.value, ids, on_rows)
    for each in filled.skipped[:5]:
        print(f"left out: {each.path}: {each.reason}", file=sys.stderr)
    if len(filled.skipped) > 5:
        print(f"left out: {len(filled.skipped) - 5} more, listed in skipped.jsonl of the segments", file=sys.stderr)
    there = f", {filled.present} were there already" if filled.present else ""
    print(f"{filled.added} rows written: {target.path}{there}")
