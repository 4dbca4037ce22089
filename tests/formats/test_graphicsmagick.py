"""Pictures written here read by GraphicsMagick, and its pictures read here; skips where ``gm`` is not installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.spec import ImageSpec

GM = shutil.which("gm")
pytestmark = pytest.mark.skipif(GM is None, reason="GraphicsMagick is not installed")
RNG = np.random.default_rng(11)


def convert(source: Path, target: str, *options: str) -> None:
    subprocess.run([str(GM), "convert", str(source), *options, target], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["bmp", "gif", "pbm", "pgm", "png", "pnm", "ppm", "ras", "tif", "xv"])
def test_graphicsmagick_reads_what_is_written(name: str, channels: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (9, 13, channels), dtype=np.uint8)
    pixels[0, 0] = 255  # the largest value of a PNM is shown as white
    writer = output_format(name).open(
        tmp_path / f"a.{name}", "", ImageSpec(pixels.shape, pixels.dtype, "yxc", (0,) * 3)
    )
    writer.write(Box.whole(pixels.shape), pixels)
    (path,) = writer.finish()
    convert(path, f"PPM:{tmp_path / 'b.ppm'}", "-depth", "8", "-type", "TrueColor")
    with Image.open(tmp_path / "b.ppm") as picture:
        assert np.array_equal(np.asarray(picture), np.broadcast_to(pixels, (9, 13, 3)))


@pytest.mark.parametrize("is_gray", [False, True], ids=["colours", "gray"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ras", ("-compress", "None")),
        ("ras", ("-compress", "RLE")),
        ("xv", ()),
        ("pnm", ()),
        ("pnm", ("-compress", "None")),
        ("gif", ()),
        ("bmp", ()),
        ("png", ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value[1:]) or "plain",
)
def test_what_graphicsmagick_writes_is_read(name: str, options: tuple[str, ...], is_gray: bool, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (9, 13, 1 if is_gray else 3), dtype=np.uint8)
    pixels[:, 6:] = 77  # something to compress
    Image.fromarray(pixels[..., 0] if is_gray else pixels).save(tmp_path / "a.png")
    convert(tmp_path / "a.png", f"{'VIFF' if name == 'xv' else name.upper()}:{tmp_path / f'b.{name}'}", *options)
    with open_picture(tmp_path / f"b.{name}") as picture:
        found = picture.read(Box.whole(picture.info.shape))
    assert np.array_equal(np.broadcast_to(found, (9, 13, 3)), np.broadcast_to(pixels, (9, 13, 3)))
