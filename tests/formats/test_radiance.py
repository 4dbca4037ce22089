"""Radiance HDR: precision, values it cannot hold, and files of OpenCV."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.spec import ImageSpec

RNG = np.random.default_rng(3)


def write(path: Path, pixels: np.ndarray) -> Path:
    writer = output_format("hdr").open(path, "", ImageSpec(pixels.shape, pixels.dtype, "yxc", (0,) * 3))
    writer.write(Box.whole(pixels.shape), pixels)
    (path,) = writer.finish()
    return path


def read(path: Path) -> np.ndarray:
    with open_picture(path) as picture:
        assert picture.info.dtype == np.float32
        return picture.read(Box.whole(picture.info.shape))


@pytest.mark.parametrize("width", [2, 7, 8, 200])
def test_eight_bits_of_precision(width: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = (10.0 ** RNG.uniform(-9, 9, (5, width, 3))).astype(np.float32)
    pixels[2] = 0.25  # a run
    found = read(write(tmp_path / "a.hdr", pixels))
    assert found.shape == pixels.shape
    assert (np.abs(found - pixels) <= pixels.max(axis=2, keepdims=True) / 128).all()
    assert np.array_equal(found[2], pixels[2])
    assert not caplog.records
    # storing it once more loses nothing more
    assert np.array_equal(read(write(tmp_path / "b.hdr", found)), found)


def test_values_it_cannot_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    pixels = np.array([[[-1, 0.5, 0.25], [np.nan, 1, np.nan], [np.inf, 1, 1], [3.4e38, -np.inf, 0]]], np.float32)
    found = read(write(tmp_path / "a.hdr", pixels))
    assert found[0, :2].tolist() == [[0, 0.5, 0.25], [0, 1, 0]]
    assert found[0, 2:, 0].tolist() == pytest.approx([2.0**127] * 2, rel=1 / 128)
    assert caplog.text.count("HDR holds no negative, infinite or undefined values") == 1


def test_files_of_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    pixels = RNG.uniform(0, 9, (6, 20, 3)).astype(np.float32)
    assert cv2.imwrite(str(tmp_path / "a.hdr"), pixels[..., ::-1])
    assert np.array_equal(read(tmp_path / "a.hdr"), cv2.imread(str(tmp_path / "a.hdr"), -1)[..., ::-1])


START = b"#?RADIANCE\nEXPOSURE=2.0\nFORMAT=32-bit_rle_rgbe\n\n"


def test_flat_pixels_without_regard_to_the_exposure(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(START + b"-Y 1 +X 2\n" + bytes([128, 64, 0, 129, 0, 0, 0, 0]))
    assert read(tmp_path / "a.hdr").tolist() == [[[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]]]


@pytest.mark.parametrize(
    "data",
    [
        b"#?RADIANCE\n",
        START + b"-Y 2 +X 2\n" + bytes(15),
        START + b"+Y 1 +X 1\n" + bytes(4),
        START + b"-Y 0 +X 1\n" + bytes(4),
        START + b"-Y 99999 +X 99999\n" + bytes(400),
        START + b"-Y 1 +X 8\n" + b"\x02\x02\x00\x09" + bytes(40),
        START.replace(b"rgbe", b"xyze") + b"-Y 1 +X 1\n" + bytes(4),
    ],
    ids=["no size", "truncated", "from below", "empty", "huge", "wrong row", "XYZ"],
)
def test_damaged_radiance_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(data)
    with pytest.raises(InputError, match=r"cannot read .*a\.hdr"):
        read(tmp_path / "a.hdr")
