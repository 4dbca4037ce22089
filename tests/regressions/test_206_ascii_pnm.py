"""Values of ASCII PNM that are out of range ended in "unexpected OverflowError", wrapped, or were passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.spec import ImageReader


def read(reader: ImageReader) -> np.ndarray:
    return reader.read(Box.whole(reader.info.shape))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P2 2 2 255\n1 2 -5 4", "value 3 is '-5', which is not an integer from 0 to 255"),
        (b"P2 2 2 255\n1 2 300 4", "value 3 is '300', which is not an integer from 0 to 255"),
        (b"P2 2 2 100\n1 2 101 4", "value 3 is '101', which is not an integer from 0 to 100"),
        (b"P2 2 2 255\n1 2 99999999999999999999999999 4", "value 3 is '99999999999999999999...'"),
        (b"P2 2 2 65535\n1 2 65536 4", "value 3 is '65536'"),
        (b"P2 2 2 4294967295\n1 2 3 4294967296", "value 4 is '4294967296'"),
        (b"P2 2 2 255\n1 2 x\x1b 4", r"value 3 is 'x\x1b', which is not an integer"),
        (b"P2 2 2 255\n1 2 1_0 4", "value 3 is '1_0'"),
        (b"P2 2 2 255\n1 2 3.5 4", "value 3 is '3.5'"),
        (b"P3 1 1 255\n1 2 \xff\xfe", r"value 3 is '\\xff\\xfe'"),
        (b"P2 2 2 255\n1 2 3", "the file holds 3 values, but its header declares 4; it is truncated"),
        (b"P2 2 2 255\n1 2 3 4 5", "the file holds 5 values, but its header declares 4; the sizes in its header"),
        (b"P1 2 2\n1 0 2 1", "pixel 3 is '2', but a bitmap holds only 0 and 1"),
        (b"P1 2 2\n1 0 1", "the file holds 3 values, but its header declares 4"),
        (b"P1 2 2\n10101", "the file holds 5 values, but its header declares 4"),
    ],
)
def test_a_value_that_cannot_be_is_one_clear_line(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pnm"
    path.write_bytes(data)
    for act in (lambda reader: reader.verify(), read):
        with open_picture(path) as reader, pytest.raises(InputError) as caught:
            act(reader)
        assert str(caught.value).startswith(f"cannot read {path}: {reason}")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "values", "dtype"),
    [
        (b"P2 3 1 255\n0 7 255\n", [0, 7, 255], np.uint8),
        (b"P2\n# by hand\n3 1\n255\n0 # a comment, 999\n007 00000255", [0, 7, 255], np.uint8),
        (b"P2 3 1 65535\n0 256 65535\n", [0, 256, 65535], np.uint16),
        (b"P2 3 1 4294967295\n0 65536 4294967295\n", [0, 65536, 4294967295], np.uint32),
        (b"P1 3 1\n011\n", [0, 255, 255], np.uint8),
        (b"P1 3 1\n0 1\n1\n", [0, 255, 255], np.uint8),
    ],
)
def test_values_within_the_range_are_read(data: bytes, values: list[int], dtype: type, tmp_path: Path) -> None:
    (tmp_path / "a.pnm").write_bytes(data)
    with open_picture(tmp_path / "a.pnm") as reader:
        reader.verify()
        pixels = read(reader)
    assert pixels.dtype == dtype
    assert pixels.ravel().tolist() == values
