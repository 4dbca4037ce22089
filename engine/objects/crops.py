"""Pictures of objects for an HDF5 table: each object's mask, and the image around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..tiling.layers import Read
from .label import Labels

CROP_AXES = "xyzc"


@frozen
class Crop:
    """Surroundings of one object, without axes of length 1; ``axes`` and ``raw_axes`` are the letters of the others.

    mask   uint8, 1 where the object is
    raw    in the image's own type
    """

    mask: np.ndarray
    axes: str
    raw: np.ndarray | None
    raw_axes: str


def cut_objects(labels: Labels, read_raw: Read | None, boxes: np.ndarray, margin: int) -> Iterator[Crop]:
    """Cut out the pictures of the objects 1, 2, … of a frame.

    labels    (z, y, x)
    read_raw  reads the image (z, y, x, c) of a box; None: no pieces of the image
    boxes     (objects, 2, 3): first and last + 1 voxel along z, y, x
    margin    voxels around an object's box, clipped to the frame
    """
    for index, (start, stop) in enumerate(boxes):
        box = Box(tuple(start.tolist()), tuple(stop.tolist())).grow((margin,) * 3).clip(labels.shape)
        mask = (labels[box.slices()] == index + 1).astype(np.uint8)
        raw = None if read_raw is None else read_raw(box)
        cut, axes = squeeze(mask[..., np.newaxis])
        piece, raw_axes = (None, "") if raw is None else squeeze(raw)
        yield Crop(cut, axes, piece, raw_axes)


def squeeze(array: np.ndarray) -> tuple[np.ndarray, str]:
    """Reorder (z, y, x, c) to x, y, z, c without axes of length 1; returns also the letters of the others."""
    turned = array.transpose(2, 1, 0, 3)
    axes = "".join(axis for axis, n in zip(CROP_AXES, turned.shape, strict=True) if n > 1)
    return np.squeeze(turned), axes


def squeezed_shape(shape: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Shape of (t, z, y, x, c) stored as t, x, y, z, c without axes of length 1, and its letters."""
    t, z, y, x, c = shape
    kept = [(n, axis) for n, axis in zip((t, x, y, z, c), f"t{CROP_AXES}", strict=True) if n > 1]
    return tuple(n for n, _ in kept), "".join(axis for _, axis in kept)
