"""The content of a file decides about its format, the extension only where no format recognises the content."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions

GRAY = np.random.default_rng(4).integers(0, 256, (9, 14), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    with open_image(str(path), role_index=0, training=None, options=InputOptions()) as image:
        return image.read(Box.whole(image.shape))[0, 0, :, :, 0]


@pytest.mark.parametrize("extension", ["btf", "tf2", "tf8", "lsm", "stk", "png", "unknown"])
def test_a_tiff_is_read_whatever_its_extension(
    tmp_path: Path, extension: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a.{extension}"
    with path.open("wb") as file:
        tifffile.imwrite(file, GRAY, bigtiff=extension == "btf")
    with caplog.at_level(logging.INFO):
        assert np.array_equal(read(path), GRAY)
    assert ("it is read as TIFF, which it contains" in caplog.text) == (extension in ("png", "unknown"))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG2000"])
@pytest.mark.parametrize("extension", ["tif", "npy"])
def test_a_picture_is_read_whatever_its_extension(tmp_path: Path, kind: str, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    Image.fromarray(GRAY).save(path, kind)
    assert np.array_equal(read(path), GRAY)


@pytest.mark.parametrize("extension", ["h5", "nd2"])
def test_an_extension_decides_where_a_file_may_begin_with_anything(tmp_path: Path, extension: str) -> None:
    """HDF5 may begin with other data, and old ND2 begin like JPEG 2000."""
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / f"a.{extension}")
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / f"a.{extension}")


def test_an_array_is_read_whatever_its_extension(tmp_path: Path) -> None:
    with (tmp_path / "a.tif").open("wb") as file:
        np.save(file, GRAY)
    assert np.array_equal(read(tmp_path / "a.tif"), GRAY)


def test_content_that_no_format_recognises_is_refused_by_the_format_of_its_extension(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"nothing in particular")
    with pytest.raises(InputError, match="not a TIFF file"):
        read(tmp_path / "a.tif")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="this is not a PNG"):
        read(tmp_path / "a.png")
