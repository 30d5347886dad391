"""``query``: the rows of a bundle that are nearest to a row of it, a code, an embedding or an image.

    python -m drlhash_jax.main query --bundle=photos.drlh --id=sea/beach.jpg --k=5
    python -m drlhash_jax.main query --bundle=photos.drlh --image=new.jpg --model=RUN --radius=4

Ids and codes need no model, and are answered without loading JAX. Rows come by distance, then in the bundle's order.
"""

import json
import sys
from pathlib import Path

from absl import flags

from drlhash_jax.errors import UserError

_BUNDLE = flags.DEFINE_string("bundle", None, "The bundle to search in.")
_ID = flags.DEFINE_string("id", None, "A row of the bundle; it is left out of the answer.")
_CODE = flags.DEFINE_string("code", None, "A code: digits 0 and 1, or hexadecimal, first bit highest.")
_EMBEDDING = flags.DEFINE_string(
    "embedding", None, "Inputs of the model, a query a row: FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY."
)
_IMAGE = flags.DEFINE_string("image", None, "An image file.")
_MODEL = flags.DEFINE_string("model", None, "The run or model that made the codes; for --embedding and --image.")
_K = flags.DEFINE_integer("k", None, "Most rows of an answer; by default 10, or all within the radius.", lower_bound=1)
_RADIUS = flags.DEFINE_integer("radius", None, "Only rows at this distance or nearer.", lower_bound=0)
_BITS = flags.DEFINE_integer("bits", None, "Compare the first bits of the codes alone.", lower_bound=1)
_RERANK = flags.DEFINE_integer(
    "rerank", None, "Order this many nearest rows by logits; for --embedding and --image.", lower_bound=1
)
_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json", "html"], "What is printed, or written to --out.")
_OUT = flags.DEFINE_string("out", None, "File of --format=html; only an earlier page is replaced.")
_IMAGES = flags.DEFINE_string("images", None, "For --format=html: folder in which ids are paths of images.")


def _check_flags() -> None:
    given = [flag.name for flag in (_ID, _CODE, _EMBEDDING, _IMAGE) if flag.value is not None]
    if not _BUNDLE.value or len(given) != 1:
        raise UserError("query needs --bundle=NAME.drlh, and one of --id, --code, --embedding and --image")
    by_model = given[0] in ("embedding", "image")
    if by_model != bool(_MODEL.value):
        raise UserError("--model=DIR goes with --embedding and --image, and they with it")
    if _RERANK.value is not None and not by_model:
        raise UserError("--rerank goes with --embedding and --image: a code has no logits")
    if (_FORMAT.value == "html") != bool(_OUT.value) or (_IMAGES.value and not _OUT.value):
        raise UserError("--out=FILE.html goes with --format=html, and it with --out; --images with both")


def _print_table(answers: list) -> None:
    for answer in answers:
        print(f"{len(answer.ids)} rows near {answer.query}")
        for name, distance in zip(answer.ids, answer.distances, strict=True):
            print(f"  {distance:>5}  {name}")


def run() -> None:
    """Prints what is near the query."""
    _check_flags()
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import bundles

    bundle = bundles.open_bundle(_BUNDLE.value)
    limits = _K.value, _RADIUS.value
    prefix = {"bits": _BITS.value}
    doubt = bundles.prefix_doubt(bundle, _BITS.value) if _BITS.value is not None else ""
    if _ID.value is not None:
        answers = [bundles.ask_by_id(bundle, _ID.value, *limits, **prefix)]
    elif _CODE.value is not None:
        answers = bundles.ask(
            bundle, [_CODE.value], bundles.parse_code(_CODE.value, bundle.num_bits), *limits, **prefix
        )
    else:
        from drlhash_jax import serving

        wanted = serving.Wanted(*limits, _RERANK.value, **prefix)
        if _IMAGE.value is not None:
            answers = [serving.ask_by_image(bundle, _MODEL.value, Path(_IMAGE.value), wanted)]
        else:
            answers = serving.ask_by_array(bundle, _MODEL.value, _EMBEDDING.value, wanted)
    if doubt:
        print(f"drlhash_jax: --bits={_BITS.value}: {doubt}", file=sys.stderr)
    if _FORMAT.value == "html":
        from drlhash_jax import explore

        explore.write_neighbours(answers, _OUT.value, _IMAGES.value, _IMAGE.value and Path(_IMAGE.value))
        print(f"written: {_OUT.value}")
    elif _FORMAT.value == "json":
        print(json.dumps([answer._asdict() for answer in answers], indent=1, ensure_ascii=False))
    else:
        _print_table(answers)
