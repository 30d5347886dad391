"""Uses of damaged bundles and images, in a process of its own that may take neither much memory nor much time."""

import io
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
from bundle_makers import make_bundle, plant
from PIL import Image

from drlhash_jax import bundles
from drlhash_jax.errors import UserError

# Of the process, and for one damaged bundle or a hundred images: SIGALRM ends what hangs.
_MEMORY, _SECONDS = 16 << 30, 10


def _limit():
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def _damage(content, rng):
    """Bytes changed, cut off and added."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 3, 20])):
        kind = rng.integers(4)
        if kind < 2 and content:
            content[rng.integers(len(content))] = rng.integers(256)
        elif kind == 2:
            del content[rng.integers(len(content) + 1) :]
        else:
            content += rng.bytes(rng.integers(1, 200))
    return bytes(content)


def _mutate(path, rng):
    """One file of a bundle is damaged, which is signed for in one of two cases."""
    file = rng.choice([each for each in sorted(path.rglob("*")) if each.is_file()])
    content = _damage(file.read_bytes(), rng)
    if file.name == "manifest.json" or rng.integers(2):
        file.write_bytes(content)
    else:
        plant(path, file.parent.name, file.name, content)


def _use(path):
    bundle = bundles.open_bundle(path)
    bundles.bundle_facts(bundle)
    bundle.search(np.zeros((1, 12), np.uint8), 5)
    bundles.ask_by_id(bundle, "1/5")
    bundles.export_bundle(path, "pgvector", path / "out")
    bundles.compact_bundle(path)


def use_bundles(folder, seed, count):
    """Uses damaged bundles; how many could be used, and how many were refused in one line."""
    _limit()
    original, path = make_bundle(Path(folder, "original.drlh")), Path(folder, "x.drlh")
    bundles.remove_rows(original, ["0/3"])
    rng, outcomes = np.random.default_rng(seed), {"used": 0, "refused": 0}
    for _ in range(count):
        signal.alarm(_SECONDS)
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(original, path)
        _mutate(path, rng)
        bundles.find_faults(path)
        try:
            _use(path)
            outcomes["used"] += 1
        except UserError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
    signal.alarm(0)
    return outcomes


def decode_images(folder, seed, count):
    """Decodes damaged images as `encode` does; how many were decoded, and how many skipped with a reason."""
    from drlhash_jax.data import IMAGE_SUFFIXES, ImageSpec
    from drlhash_jax.serving.inputs import decode_blocks, list_files

    _limit()
    rng, outcomes = np.random.default_rng(seed), {"used": 0, "refused": 0}
    picture = Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8))
    kinds = {}
    for kind in ("jpeg", "png", "gif", "bmp", "webp", "tiff"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        kinds[kind] = buffer.getvalue()
    for start in range(0, count, 100):
        root = Path(folder, f"images{start}")
        root.mkdir()
        signal.alarm(_SECONDS)
        for number in range(start, min(start + 100, count)):
            kind = list(kinds)[number % len(kinds)]
            (root / f"{number}.{kind}").write_bytes(_damage(kinds[kind], rng))
        names, skipped = list_files("images", root, IMAGE_SUFFIXES, "an image")
        decoded = sum(len(images.names) for images in decode_blocks(root, names, ImageSpec(16), skipped))
        assert all(each.reason and "\n" not in each.reason for each in skipped)
        assert decoded + len(skipped) == min(100, count - start)
        outcomes["used"] += decoded
        outcomes["refused"] += len(skipped)
        shutil.rmtree(root)
    signal.alarm(0)
    return outcomes
