"""The page of ``--report_html`` in a real Chromium, as a person uses it: ``make browser``.

``CHROMIUM`` names the browser; else that of the system, or the one that ``playwright install chromium`` has fetched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from support.golden import GOLDEN

from pixelforest import cli

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make browser does")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed; make browser does")

pytestmark = pytest.mark.browser
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = "a <img src=x onerror=window.hacked=1> b.png"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Page of a batch in which three images went wrong, one is missing, and one has the name of an attack."""
    folder = tmp_path_factory.mktemp("batch")
    names = []
    with Image.open(GOLDEN / "px2d_rgb" / "raw.png") as picture:
        pixels = np.asarray(picture).astype(int)
        made = {"blank.png": np.full(pixels.shape, 7), "swapped.png": pixels[..., [1, 2, 0]]}
        made["blurred.png"] = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)))
    for i in range(6):
        noise = np.random.default_rng(i).integers(-3, 4, pixels.shape)
        made[HOSTILE if i == 5 else f"good{i}.png"] = (np.roll(pixels, (13 * i, 7 * i), (0, 1)) + noise).clip(0, 255)
    for name, voxels in made.items():
        names.append(str(folder / name))
        Image.fromarray(voxels.astype(np.uint8)).save(names[-1])
    argv = [f"--project={GOLDEN / 'px2d_rgb' / 'project.ilp'}", f"--output_filename_format={folder}/out/{{nickname}}"]
    assert cli.main([*argv, f"--report_html={folder}/r.html", "--quiet", *names, str(folder / "gone.png")]) == 3
    return folder / "r.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, SYSTEM_BROWSERS)), None)
    with playwright.sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium starts here: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, page_file: Path) -> Iterator[Open]:
    """Opens the page with settings of a context; at the end nothing may have been requested or gone wrong."""
    problems: list[str] = []

    def open_it(**settings: Any) -> Any:
        page = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **settings}).new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: note(request.url))
        page.goto(page_file.as_uri())
        return page

    def note(url: str) -> None:
        if not url.startswith("data:") and url.partition("#")[0] != page_file.as_uri():
            problems.append(f"request of {url}")

    yield open_it
    assert problems == []


def test_nothing_is_requested_and_no_name_is_executed(open_page: Open) -> None:
    page = open_page()
    assert page.evaluate("window.hacked") is None
    assert page.get_by_text("onerror=window.hacked=1").count() > 0
    assert page.locator("img").count() == 4 * 9
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_the_slider_and_the_key_change_what_is_seen(open_page: Open) -> None:
    page = open_page()
    layer, outlines = page.locator(".filled").first, page.locator("img.outlines").first
    assert opacity(layer) == pytest.approx(0.5)
    page.locator("#opacity").fill("80")
    assert opacity(layer) == pytest.approx(0.8)
    page.keyboard.down("h")
    assert not layer.is_visible()
    page.keyboard.up("h")
    assert layer.is_visible()
    assert not outlines.is_visible()
    page.get_by_label("outlines", exact=True).check()
    assert (layer.is_visible(), outlines.is_visible()) == (False, True)
    page.get_by_label("hidden", exact=True).check()
    assert (layer.is_visible(), outlines.is_visible()) == (False, False)


def opacity(element: Any) -> float:
    return float(element.evaluate("(element) => getComputedStyle(element).opacity"))


def test_the_table_is_sorted(open_page: Open) -> None:
    page = open_page()
    for name, column in (("Uncertainty", 3), ("Input", 0)):
        for direction in ("ascending", "descending"):
            page.get_by_role("button", name=name).click()
            assert page.get_by_role("columnheader", name=name).get_attribute("aria-sort") == direction
            values = page.locator(f"tbody tr td:nth-child({column + 1})").evaluate_all(
                "(cells) => cells.map((cell) => cell.dataset.value)"
            )
            given = [value for value in values if value]
            key: Callable[[str], Any] = float if name == "Uncertainty" else str.lower
            if name == "Uncertainty":
                assert given == sorted(given, key=key, reverse=direction == "descending")
            assert values.index("") == len(values) - 1 if "" in values else len(given) == len(values)


def test_the_page_works_without_a_script(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    assert not page.locator("#opacity").is_visible()
    assert page.locator(".filled").first.is_visible()
    page.locator("#outlines").check()
    assert page.locator("img.outlines").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_it_fits_narrow_screens_and_is_accessible(open_page: Open, scheme: str, width: int) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = axe.Axe().run(page)
    assert found.response["violations"] == []


def test_everything_is_printed(open_page: Open) -> None:
    page = open_page()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator(".tools").is_visible()
    assert page.pdf()[:4] == b"%PDF"


def test_the_page_alone_tells_which_inputs_went_wrong(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="State").click()
    page.get_by_role("button", name="State").click()
    for name, words in (
        ("blank.png", "unusual: blank"),
        ("swapped.png", "channels swapped?"),
        ("blurred.png", "out of focus"),
    ):
        row = page.locator("tbody tr", has=page.get_by_role("link", name=name))
        assert words in row.inner_text()
        row.get_by_role("link").click()
        assert page.locator("details:target").is_visible()


def test_pictures_for_the_documentation(open_page: Open, page_file: Path) -> None:
    """They are kept if PICTURES names a folder."""
    folder = os.environ.get("PICTURES")
    page = open_page(viewport={"width": 960, "height": 640})
    page.evaluate(SHORTEN, f"{page_file.parent}/")
    for name, words in (("report.png", ""), ("report-input.png", "blurred.png")):
        if words:
            page.locator("summary", has_text=words).evaluate("(each) => each.scrollIntoView()")
        picture = page.screenshot(path=Path(folder) / name if folder else None)
        assert len(picture) > 10_000


SHORTEN = """(folder) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(folder, "");
  document.documentElement.style.scrollPaddingTop = "4rem";
}"""
