"""Part of an image that must be read so that the inside of a tile is exact."""

from __future__ import annotations

from collections.abc import Sequence

from ...box import Box


def source_box(tile: Box, halo: Sequence[int], image: Sequence[int]) -> Box:
    """Add the halo to a tile: ``halo`` voxels on every side, as far as the image reaches."""
    return tile.grow(halo).clip(image)
