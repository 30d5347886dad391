"""Groups of copies among the images of a bundle, and what the sample said about each way to find them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles import Bundle, count_pairs, group_codes
from drlhash_jax.copies.choice import Choice, are_copies, choose_radius, false_pairs
from drlhash_jax.data import ImageSpec, Skipped
from drlhash_jax.errors import UserError
from drlhash_jax.robustness import ATTACKS, Hasher, count_same, model_hasher, perceptual_hasher
from drlhash_jax.serving import decode_blocks, image_spec, open_model_of

# Pixels a side at which images are hashed and attacked: hashes look at far fewer.
_SIDE = 256
_SAMPLE = 100


class Found(NamedTuple):
    """What `find_copies` found.

    Attributes:
      groups: rows int64 of each group, ascending.
      used: "codes", or the name of the perceptual hash.
      choices: name -> Choice, of both.
      num_copies: attacked copies of the sample.
      num_different: pairs of different images of the sample.
    """

    groups: list[np.ndarray]
    used: str
    choices: dict[str, Choice]
    num_copies: int
    num_different: int


def _pixels(root: Path, names: list[str]) -> Iterator[np.ndarray]:
    """Blocks of uint8 ``[n, 256, 256, 3]``, of all files in order."""
    skipped: list[Skipped] = []
    for images in decode_blocks(root, names, ImageSpec(_SIDE), skipped):
        if skipped:
            break
        yield images.pixels
    if skipped:
        raise UserError(f"--images={root}: {skipped[0].path}, a row of the bundle, cannot be read: {skipped[0].reason}")


def _copies_by_distance(pixels: np.ndarray, ways: dict[str, tuple[np.ndarray, Hasher]]) -> dict[str, np.ndarray]:
    """Copies of images ``[n, H, W, 3]`` under every attack, at its middle strength, by distance: int64 a way.

    Args:
      pixels: of the images.
      ways: name -> their codes {0, 1} ``[n, K]``, and what codes their copies.
    """
    counts = {way: np.zeros(codes.shape[1] + 1, np.int64) for way, (codes, _) in ways.items()}
    for attack in ATTACKS.values():
        strength = attack.strengths[len(attack.strengths) // 2]
        attacked = np.stack([attack.function(image, strength) for image in pixels])
        for way, (codes, hasher) in ways.items():
            counts[way] += count_same(codes, hasher(attacked))
    return counts


def _pair_distances(codes: np.ndarray) -> np.ndarray:
    """Distances of all pairs of codes {0, 1} ``[n, K]``: int ``[n (n - 1) / 2]``."""
    first, second = np.triu_indices(len(codes), 1)
    return (codes[first] != codes[second]).sum(axis=1)


def _choose(packed: np.ndarray, different: np.ndarray, same: np.ndarray, precision: float) -> Choice:
    """Choice for a collection of packed codes; `different` and `same` are of the sample."""
    false = false_pairs(different, len(packed))
    # Where a row has more than one false pair, nothing is worth counting.
    radius = int(np.sum(false <= len(packed))) - 1
    found = count_pairs(packed, radius) if radius >= 0 else np.zeros(0, np.int64)
    return choose_radius(same, false, found, precision)


def find_copies(bundle: Bundle, model: str | Path, root: Path, name: str, precision: float) -> Found:
    """Groups of rows that are copies of one another, by the bundle's codes or by a perceptual hash of its files.

    A sample of at most 100 rows is attacked in every way of `ATTACKS`. Each of both hashes gets the largest radius at
    which the share of copies among all pairs of the collection is expected to be the precision, and the one that finds
    more of the attacked copies is used, the codes where they are equal.

    Args:
      bundle: of images, whose ids are paths in `root`.
      model: that made its codes.
      root: the folder of its images.
      name: one of `PERCEPTUAL_HASHES`.
      precision: 0 to 1.

    Raises:
      UserError: fewer than two rows, another model, an image that cannot be read, codes of queries, or neither keeps
        the precision.
    """
    if bundle.manifest.role == "query":
        raise UserError(f"{bundle.path} holds codes of the query side, which are not compared with one another")
    if len(bundle.codes) < 2:
        raise UserError(f"{bundle.path} has fewer than two rows")
    served, hasher = open_model_of(bundle, model), perceptual_hasher(name)
    image_spec(served)
    ids = bundle.ids()
    hashes = np.concatenate([hasher(pixels) for pixels in _pixels(root, ids)])
    rows = np.sort(np.random.default_rng(0).permutation(len(ids))[:_SAMPLE])
    pixels = np.concatenate(list(_pixels(root, [ids[row] for row in rows])))
    codes = np.unpackbits(bundle.codes[rows], axis=1, count=bundle.num_bits)
    ways = {
        "codes": (codes, model_hasher(served.folder, served.bits, served.selector)),
        name: (hashes[rows], hasher),
    }
    same = _copies_by_distance(pixels, ways)
    # What the perceptual hash takes for copies in the sample are no different images, for the codes neither.
    copies = are_copies(_pair_distances(hashes[rows]), hashes.shape[1])
    different = {
        way: np.bincount(_pair_distances(each)[~copies], minlength=each.shape[1] + 1) for way, (each, _) in ways.items()
    }
    packed = {"codes": bundle.codes, name: np.packbits(hashes, axis=1)}
    choices = {way: _choose(packed[way], different[way], same[way], precision) for way in ways}
    used = max(choices, key=lambda way: choices[way].recall)
    if choices[used].radius < 0:
        raise UserError(
            f"neither the codes nor {name} keep a precision of {precision:g} among {len(ids)} images: give a lower one"
        )
    groups = group_codes(packed[used], choices[used].radius)
    return Found(groups, used, choices, int(same[used].sum()), int((~copies).sum()))
