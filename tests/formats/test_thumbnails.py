"""Small pictures of reports, decoded by Pillow."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pixelforest.engine.storage.thumbnails import encode_image, encode_map, picture_type, shrink_image


@pytest.mark.parametrize("count", [2, 3, 5, 17, 256])
@pytest.mark.parametrize("width", [1, 7, 16])
def test_maps_are_exact(count: int, width: int) -> None:
    numbers = (np.arange(9 * width) % count).astype(np.uint8).reshape(9, width)
    colours = [(i, 255 - i, i // 2, 0 if i == 0 else 255) for i in range(count)]
    encoded = encode_map(numbers, colours)
    with Image.open(BytesIO(encoded)) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGBA")), np.array(colours, np.uint8)[numbers])
    assert picture_type(encoded) == "image/png"


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3)])
def test_images_keep_their_size(shape: tuple[int, ...]) -> None:
    encoded = encode_image(np.full(shape, 77, np.uint8))
    with Image.open(BytesIO(encoded)) as picture:
        found = np.asarray(picture)
    assert found.shape == shape
    assert abs(found.astype(int) - 77).max() <= 2
    assert picture_type(encoded) == "image/jpeg"


def test_shrunk_pictures_have_half_the_sides() -> None:
    numbers = np.repeat(np.repeat(np.array([[0, 1], [2, 0]], np.uint8), 4, 0), 4, 1)
    colours = [(0, 0, 0, 0), (255, 0, 0, 255), (0, 0, 255, 255)]
    with Image.open(BytesIO(shrink_image(encode_map(numbers, colours)))) as picture:
        found = np.asarray(picture.convert("RGBA"))
    assert np.array_equal(found, np.array(colours, np.uint8)[numbers[::2, ::2]])
    with Image.open(BytesIO(shrink_image(encode_image(np.zeros((8, 6, 3), np.uint8))))) as picture:
        assert picture.size == (3, 4)
