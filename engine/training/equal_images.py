"""Training images that are the same, whatever their names: in a cross-validation they are left out together."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from ...box import Box
from .samples import SampleImage

_SLAB = (1, 8, 256, 2048)  # read at a time, all channels

logger = logging.getLogger("pixelforest.training")


def find_folds(images: Mapping[int, SampleImage]) -> dict[int, int]:
    """Map each lane to the first one that has the same image, in every voxel; that may be itself.

    Images of one size are compared slab by slab. Most differ in the first one, so that no more of them is read.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for lane, image in images.items():
        by_shape.setdefault(tuple(image.shape), []).append(lane)
    folds: dict[int, int] = {}
    for shape, lanes in by_shape.items():
        for equal in _divide_by_voxels(images, shape, lanes):
            folds |= dict.fromkeys(equal, equal[0])
            for lane in equal[1:]:
                first, other = images[equal[0]].path_text, images[lane].path_text
                logger.warning(
                    "Cross-validation: images %d and %d are the same (%s), and left out together",
                    equal[0] + 1,
                    lane + 1,
                    first if first == other else f"{first}, {other}",
                )
    return folds


def _divide_by_voxels(
    images: Mapping[int, SampleImage], shape: tuple[int, ...], lanes: Sequence[int]
) -> list[list[int]]:
    """Divide images of one shape into groups of equal ones."""
    files = _group((os.path.realpath(images[lane].path_text), lane) for lane in lanes)
    groups = [[own[0] for own in files]]  # one lane of each file
    for slab in Box.whole(shape).split((*_SLAB, shape[4])):
        if all(len(group) == 1 for group in groups):
            break
        groups = [part for group in groups for part in _divide_by_slab(images, slab, group)]
    members = {own[0]: own for own in files}
    return [sorted(lane for first in group for lane in members[first]) for group in groups]


def _divide_by_slab(images: Mapping[int, SampleImage], slab: Box, lanes: Sequence[int]) -> list[list[int]]:
    if len(lanes) == 1:
        return [list(lanes)]
    values = ((lane, images[lane].read(slab)) for lane in lanes)
    return _group(((found.dtype.str, blake2b(found.tobytes()).digest()), lane) for lane, found in values)


def _group(pairs: Iterable[tuple[object, int]]) -> list[list[int]]:
    """Group lanes by their keys."""
    found: dict[object, list[int]] = {}
    for key, lane in pairs:
        found.setdefault(key, []).append(lane)
    return list(found.values())
