"""The page in headless Chromium: narrow and wide, light and dark."""

import pytest
from browsers import open_browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver():
    """A browser that says what it fetches."""
    with open_browser(browser="ALL", performance="ALL") as browser:
        yield browser


MEASURE = """
const page = document.scrollingElement, box = element => element.getBoundingClientRect();
document.querySelectorAll("details").forEach(each => each.open = true);
const scrolls = element => element.closest(".scroll, .plot, nav ul") !== null;
const shown = element => getComputedStyle(element).display !== "none";
const wide = [...document.querySelectorAll(".scroll, .plot")].filter(each => each.scrollWidth > each.clientWidth + 1);
page.scrollTo({ top: page.scrollHeight, behavior: "instant" });
const menu = box(document.querySelector("nav"));
return {
  menu: [menu.top, menu.left, menu.height, menu.width],
  silent: wide.filter(each => !each.previousElementSibling?.matches(".hint") || !shown(each.previousElementSibling))
    .map(each => each.getAttribute("aria-label")),
  numWide: wide.length,
  sources: [...document.images].map(each => each.currentSrc === each.src),
  width: innerWidth,
  scrollWidth: page.scrollWidth,
  outside: [...document.body.querySelectorAll("*")]
    .filter(each => !scrolls(each) && box(each).right > page.clientWidth + 1).map(each => each.outerHTML.slice(0, 200)),
  boxes: [...document.querySelectorAll("table")].every(scrolls),
  images: [...document.images].map(each => each.complete && each.naturalWidth > 0 && box(each).width > 100),
  scripts: document.scripts.length,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  colours: [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor],
};
"""


def brightness(colour):
    """Mean of red, green and blue, 0 to 255, of rgb(r, g, b)."""
    return sum(int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_page_fits(driver, width, scheme, report_folder):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.get((report_folder[0] / "report.html").as_uri())
    found = driver.execute_script(MEASURE)
    assert found["width"] == width and found["dark"] == (scheme == "dark")
    assert found["scrollWidth"] <= width and found["outside"] == [] and found["boxes"]
    assert len(found["images"]) == 9 and all(found["images"])
    # Figures in the dark are the dark ones.
    assert found["sources"] == [scheme == "light"] * 9
    # The menu is still there at the end of the page: on top, or at the side where there is room.
    top, left, menu_height, menu_width = found["menu"]
    assert 0 <= top < 40 and (menu_width < 300 and left < 100 if width == 1280 else menu_height < 80 and left == 0)
    if width == 400:
        assert found["numWide"] > 5 and found["silent"] == []
    ink, paper = map(brightness, found["colours"])
    assert (ink > 200 and paper < 60) if scheme == "dark" else (ink < 60 and paper > 200)
    assert found["scripts"] == 0 and driver.get_log("browser") == []
    requests = [entry["message"] for entry in driver.get_log("performance") if "requestWillBeSent" in entry["message"]]
    assert not [message for message in requests if '"url":"http' in message]
