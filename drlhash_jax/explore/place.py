"""Where a page is written: never over a file that is not such a page."""

from pathlib import Path

from drlhash_jax.errors import UserError
from drlhash_jax.files import write_atomically

MARK = b'<meta name="generator" content="drlhash explore">'
_HEAD_BYTES = 1_024


def check_place(out: Path) -> None:
    """Refuses a path that holds anything but an earlier page.

    Raises:
      UserError: a folder, a link, or a file that was not written by `write_page`.
    """
    try:
        if not out.is_symlink() and not out.exists():
            return
        if out.is_file() and not out.is_symlink():
            with open(out, "rb") as file:
                if MARK in file.read(_HEAD_BYTES):
                    return
    except OSError as error:
        raise UserError(f"--out={out} cannot be read: {error.strerror or error}") from error
    raise UserError(f"--out={out} is there and is not a page of drlhash: give another --out")


def check_images(images: Path | None) -> None:
    """Refuses a folder of images that is none.

    Raises:
      UserError: it is not a folder.
    """
    if images is not None and not images.is_dir():
        raise UserError(f"--images={images}: no such folder")


def write_page(out: Path, page: bytes) -> None:
    """Writes a page whole, or not at all."""
    write_atomically(out, lambda file: file.write(page))
