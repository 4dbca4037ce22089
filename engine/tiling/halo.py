"""Which part of an image must be read so that the inside of a tile comes out exact."""

from __future__ import annotations

from collections.abc import Sequence

from ...box import Box


def source_box(tile: Box, margin: Sequence[int], image: Sequence[int]) -> Box:
    """The tile with its halo: ``margin`` voxels on every side, as far as the image reaches."""
    return tile.grow(margin).clip(image)
