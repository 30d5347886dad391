"""Answers to queries as one file of HTML: each query, and the rows near it."""

from collections.abc import Sequence
from pathlib import Path

from drlhash_jax import __version__
from drlhash_jax.bundles import Answer
from drlhash_jax.explore.place import check_images, check_place, write_page
from drlhash_jax.explore.thumbnails import side_for, thumbnail, thumbnail_of_row
from drlhash_jax.pages import render


def write_neighbours(
    answers: Sequence[Answer], out: str | Path, images: str | Path | None = None, query_image: Path | None = None
) -> None:
    """Writes a page of queries and what is near them.

    Args:
      answers: Answers.
      out: the file; an earlier page is replaced.
      images: folder in which ids are paths of images; None for tiles of ids alone.
      query_image: the image that was asked for, if it was one.

    Raises:
      UserError: no such folder, a file that is not ours, or no jinja2.
    """
    out, images = Path(out), None if images is None else Path(images)
    check_place(out)
    check_images(images)
    side = side_for(len(answers))
    shown = [
        {
            "query": answer.query,
            "thumb": thumbnail(query_image, side) if query_image else thumbnail_of_row(images, answer.query, side),
            "near": [
                (name, distance, thumbnail_of_row(images, name, side))
                for name, distance in zip(answer.ids, answer.distances, strict=True)
            ],
        }
        for answer in answers
    ]
    write_page(out, render(__package__, "neighbours.html.jinja", {"version": __version__, "answers": shown}))
