"""``--report_html``: a page that needs nothing else, in which names are text, and that tells what went wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pixelforest import cli
from pixelforest.frontend.html_report import files
from pixelforest.frontend.html_report.page import render_page

HOSTILE = "<img src=x onerror=alert(1)> \"'&.png"
VOID = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Elements of a page with their attributes, its texts, and elements that were not closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture
def rgb(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_rgb")
    monkeypatch.chdir(folder)
    return folder


def run(*words: str, status: int = 0) -> Page:
    """The page of a run."""
    argv = ["--project=project.ilp", "--report_html=r.html", "--quiet", "--output_filename_format=out/{nickname}"]
    assert cli.main([*argv, *words]) == status
    return Page(Path("r.html").read_text(encoding="utf-8"))


def test_the_page_is_whole_and_requests_nothing(rgb: Path) -> None:
    page = run("raw.png")
    assert page.open == []
    sources = [str(image["src"]) for image in page.all("img")]
    assert len(sources) == 4
    assert all(re.match(r"data:image/(png|jpeg);base64,", source) for source in sources)
    assert all(image["alt"] for image in page.all("img"))
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    assert all(str(link["href"]).startswith("#input-") for link in page.all("a"))


def test_only_the_page_s_own_script_and_style_are_allowed(rgb: Path) -> None:
    source = (run("raw.png"), Path("r.html").read_text(encoding="utf-8"))[1]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', source)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    for tag in ("script", "style"):
        (contents,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(contents.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert not [name for _, each in Page(source).elements for name in each if name.startswith("on") or name == "style"]


def test_names_are_text(rgb: Path) -> None:
    report = {
        "project": f"/{HOSTILE}.ilp",
        "version": "1",
        "error": HOSTILE,
        "seconds": 1.0,
        "threads": 1,
        "shard": None,
        "provenance": {"command": HOSTILE, "versions": {"</script>": "<b>"}},
    }
    run("--report_json=r.json", "raw.png")
    (lane,) = json.loads(Path("r.json").read_text(encoding="utf-8"))["lanes"]
    lane["sample"]["classes"][0]["name"] = "</svg><script>alert(1)</script>\u202e"
    lane |= {"inputs": {"Raw Data": HOSTILE, "Mask": HOSTILE}, "outputs": [HOSTILE], "warnings": [HOSTILE]}
    lane |= {"error": HOSTILE, "state": "failed", "device": HOSTILE}
    page = Page(render_page({**report, "lanes": [lane]}))
    assert page.open == []
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 4
    assert not [name for _, each in page.elements for name in each if name.startswith("on")]
    assert page.text.count("<img src=x onerror=alert(1)>") >= 7
    assert "alert(1)</script>\\u202e" in page.text


def test_failed_inputs_and_their_errors_are_there(rgb: Path) -> None:
    page = run("raw.png", "gone.png", status=3)
    assert "1 done, 1 failed" in page.text
    assert "no file matches gone.png" in page.text


def test_a_run_that_fails_as_a_whole_has_a_page(rgb: Path) -> None:
    assert "there is no output format" in run("--output_format=docx", "raw.png", status=2).text


def test_another_file_is_not_replaced(rgb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.html").write_text("something else", encoding="utf-8")
    argv = ["--project=project.ilp", "--report_html=r.html", "raw.png"]
    assert cli.main(argv) == 1
    assert "choose another name with --report_html" in capsys.readouterr().err
    assert Path("r.html").read_text(encoding="utf-8") == "something else"


def test_an_input_takes_less_than_100_kb(rgb: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (500, 700, 3)).astype(np.uint8)
    for name in "ab":
        Image.fromarray(noise).save(f"{name}.png")
    sizes = []
    for names in (["a.png"], ["a.png", "b.png"]):
        run(*names)
        sizes.append(Path("r.html").stat().st_size)
    assert sizes[1] - sizes[0] < 100_000


def test_pictures_of_very_many_inputs_are_beside_the_page(rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_INLINE", 1)
    Image.open("raw.png").save("b.png")
    page = run("raw.png", "b.png")
    sources = [str(image["src"]) for image in page.all("img")]
    assert len(set(sources)) == 8
    assert all(source.startswith("r_files/") and Path(source).stat().st_size > 0 for source in sources)


def test_large_pages_have_small_pictures(rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("raw.png")
    before = Path("r.html").stat().st_size
    monkeypatch.setattr(files, "MAX_PICTURE_BYTES", 1000)
    run("raw.png")
    assert Path("r.html").stat().st_size < before


@pytest.fixture
def batch(rgb: Path) -> list[str]:
    """Eight similar images, and three that went wrong."""
    with Image.open("raw.png") as picture:
        pixels = np.asarray(picture).astype(int)
        for i in range(8):
            noise = np.random.default_rng(i).integers(-3, 4, pixels.shape)
            moved = np.roll(pixels, (13 * i, 7 * i), (0, 1)) + noise
            Image.fromarray(moved.clip(0, 255).astype(np.uint8)).save(f"good{i}.png")
        Image.fromarray(np.full(pixels.shape, 7, np.uint8)).save("blank.png")
        Image.fromarray(pixels[..., [1, 2, 0]].astype(np.uint8)).save("swapped.png")
        picture.filter(ImageFilter.GaussianBlur(3)).save("blurred.png")
    return ["blank.png", "swapped.png", "blurred.png", *(f"good{i}.png" for i in range(8))]


def test_inputs_that_went_wrong_are_marked_in_words(batch: list[str]) -> None:
    page = run(*batch)
    assert "3 inputs marked as unusual" in page.text
    rows = page.text.partition("Inputs")[0]
    for name, words in (
        ("blank.png", "unusual: blank"),
        ("swapped.png", "unusual: channels swapped?"),
        ("blurred.png", "unusual: blurred, maybe out of focus"),
    ):
        row = rows.partition(name)[2].partition(".png")[0]
        assert words in row
    assert "they look like channels 2, 3, 1 of the other inputs" in page.text
    assert "every sampled pixel is 7" in page.text
