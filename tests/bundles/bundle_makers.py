"""Small bundles, and bundles that somebody with bad intentions changed and signed again."""

import hashlib
import json

import numpy as np

from drlhash_jax import bundles
from drlhash_jax.files import sha256_of

NUM_BITS = 12


def draw_codes(num_rows, num_bits=NUM_BITS, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (num_rows, num_bits)).astype(np.uint8)


def pack(codes):
    return np.packbits(codes, axis=1)


def make_bundle(path, sizes=(30, 20), num_bits=NUM_BITS, **facts):
    """A bundle with a segment for each size; ids are "0/0", "0/1", ..., "1/0", ..."""
    bundles.create_bundle(path, num_bits, **facts)
    for number, size in enumerate(sizes):
        ids = [f"{number}/{row}" for row in range(size)]
        bundles.append_rows(path, pack(draw_codes(size, num_bits, number)), ids, [{"path": "x", "reason": "y"}])
    return path


def sign(path, edit):
    """Changes the manifest by a function of its value, with the digest that belongs to it."""
    value = json.loads((path / "manifest.json").read_text())
    value.pop("sha256")
    edit(value)
    text = json.dumps(value, indent=2) + "\n"
    value["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(value, indent=2) + "\n")


def plant(path, part, name, content):
    """Puts an array, or bytes, in the place of a part's file, and signs for it."""
    file = path / part / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        with open(file, "wb") as stream:
            np.lib.format.write_array(stream, content, allow_pickle=True)

    def edit(value):
        (described,) = (
            each for each in (*value["segments"], value["removed"]) if each and part.endswith(f"-{each['number']:06d}")
        )
        described["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}

    sign(path, edit)
