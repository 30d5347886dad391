"""A bundle as one file of HTML that searches itself: codes, ids and thumbnails, and a script that asks nobody."""

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from drlhash_jax import __version__
from drlhash_jax.bundles import Bundle, open_bundle
from drlhash_jax.errors import UserError
from drlhash_jax.explore.place import check_images, check_place, write_page
from drlhash_jax.explore.thumbnails import side_for, thumbnail_of_row
from drlhash_jax.pages import make_environment, render

MOST_ROWS = 50_000
_FEWEST_BITS = 8


class Explorer(NamedTuple):
    """What was written.

    Attributes:
      rows: on the page.
      pictures: rows that have a thumbnail.
      num_bytes: of the file.
    """

    rows: int
    pictures: int
    num_bytes: int


def script_json(value: object) -> str:
    """JSON that may stand in a <script>: no "<" can end it there or begin a comment."""
    return json.dumps(value).replace("<", "\\u003c")


def _data(bundle: Bundle, num_rows: int, thumbs: list[str | None]) -> dict[str, object]:
    return {
        "bits": bundle.num_bits,
        "codes": base64.b64encode(bundle.codes[:num_rows].tobytes()).decode(),
        "ids": [bundle.id_of(row) for row in range(num_rows)],
        "thumbs": thumbs,
    }


def write_explorer(
    path: str | Path, out: str | Path, images: str | Path | None = None, limit: int = MOST_ROWS
) -> Explorer:
    """Writes the page of a bundle.

    Args:
      path: the bundle.
      out: the file; an earlier page is replaced.
      images: folder in which ids are paths of images; None for tiles of ids alone.
      limit: only the first rows, at most this many and `MOST_ROWS`.

    Returns:
      Explorer.

    Raises:
      UserError: no bundle, an empty one, codes that are not compared with one another, no such folder, a file that is
        not ours, or no jinja2; nothing was written then.
    """
    out, images = Path(out), None if images is None else Path(images)
    check_place(out)
    check_images(images)
    make_environment()
    bundle = open_bundle(path)
    if not len(bundle.codes):
        raise UserError(f"{path} has no rows: there is nothing to explore")
    if bundle.manifest.role is not None:
        raise UserError(
            f"{path} holds codes of the {bundle.manifest.role} side, which are not compared with one another"
        )
    num_rows = min(len(bundle.codes), limit, MOST_ROWS)
    side = side_for(num_rows)
    thumbs = [thumbnail_of_row(images, bundle.id_of(row), side) for row in range(num_rows)]
    script = resources.files(__package__).joinpath("explore.js").read_text(encoding="utf-8")
    content = {
        "version": __version__,
        "title": Path(path).name,
        "rows": num_rows,
        "all_rows": len(bundle.codes),
        "bits": bundle.num_bits,
        "fewest": min(_FEWEST_BITS, bundle.num_bits),
        "script": script,
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": script_json(_data(bundle, num_rows, thumbs)),
    }
    page = render(__package__, "explore.html.jinja", content)
    write_page(out, page)
    return Explorer(num_rows, num_rows - thumbs.count(None), len(page))
