"""The page of a bundle: its data are the bundle's, its search is `Bundle.search`, and names in it are harmless."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from browsers import open_browser
from PIL import Image

from drlhash_jax import bundles, explore
from drlhash_jax.errors import UserError

NUM_BITS = 44
HOSTILE = "</script><script>document.title='hurt'</script><!--&\"'.jpg"
NAMES = ["sea/0.png", HOSTILE, "../outside.png", *(f"row {number}" for number in range(60))]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a bundle, one image in `photos`, one beside it, and the page."""
    folder = tmp_path_factory.mktemp("explore")
    codes = np.random.default_rng(0).integers(0, 2, (len(NAMES), NUM_BITS)).astype(np.uint8)
    bundles.create_bundle(folder / "x.drlh", NUM_BITS)
    bundles.append_rows(folder / "x.drlh", np.packbits(codes, axis=1), NAMES)
    (folder / "photos/sea").mkdir(parents=True)
    for path in ("photos/sea/0.png", "outside.png"):
        Image.new("RGB", (12, 9), "red").save(folder / path)
    explore.write_explorer(folder / "x.drlh", folder / "page.html", folder / "photos")
    return folder


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_page_holds_the_bundle(place):
    page, bundle = (place / "page.html").read_text(), bundles.open_bundle(place / "x.drlh")
    data = data_of(page)
    assert data["bits"] == NUM_BITS and data["ids"] == NAMES and page.count("</script") == 2
    assert base64.b64decode(data["codes"]) == bundle.codes.tobytes()
    # An id that leads out of the folder shows nothing of what is there.
    assert [row for row, thumb in enumerate(data["thumbs"]) if thumb] == [0]


def test_neighbours_are_escaped(place):
    answer = bundles.Answer("sea/0.png", [HOSTILE], [3])
    explore.write_neighbours([answer], place / "near.html", place / "photos")
    page = (place / "near.html").read_text()
    assert "<script" not in page and "distance 3" in page and page.count("data:image/jpeg") == 1


def test_files_of_others_stay(place):
    (place / "mine.html").write_text("mine")
    with pytest.raises(UserError, match="is not a page of drlhash"):
        explore.write_explorer(place / "x.drlh", place / "mine.html")
    assert (place / "mine.html").read_text() == "mine"


def test_loads_no_jax():
    program = "import sys; from drlhash_jax import explore; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.slow
def test_search_in_the_browser(place):
    with open_browser(browser="ALL") as browser:
        browser.get((place / "page.html").as_uri())
        bundle = bundles.open_bundle(place / "x.drlh")
        codes = np.unpackbits(bundle.codes, axis=1, count=NUM_BITS)
        for row, bits in ((0, 44), (1, 8), (5, 32), (7, 33)):
            browser.execute_script(
                "document.querySelector(`#rows [data-row='${arguments[0]}']`).click();"
                "const bits = document.getElementById('bits'); bits.value = arguments[1];"
                "bits.dispatchEvent(new Event('input'));",
                *(row, bits),
            )
            shown = browser.execute_script(
                "return [...document.querySelectorAll('#near .tile')].map(each => [Number(each.dataset.row),"
                " Number(each.querySelector('.distance').textContent.split(' ')[1])]);"
            )
            prefix = bundle._replace(
                manifest=bundle.manifest._replace(num_bits=bits), codes=np.packbits(codes[:, :bits], axis=1)
            )
            distances, rows = prefix.search(codes[row : row + 1, :bits], k=len(NAMES))
            expected = [list(pair) for pair in zip(rows[0].tolist(), distances[0].tolist()) if pair[0] != row]
            assert shown == expected[:20]
        assert browser.title == "drlhash_jax: x.drlh" and browser.get_log("browser") == []
