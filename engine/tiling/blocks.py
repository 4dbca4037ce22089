"""Cutting of a result into blocks, each computed and recorded as a whole: boxes of whole units of its files.

They depend on the result only, so that every process of a run, on whatever machine, cuts it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import lcm, prod

from ...box import Box

# Seconds to minutes of one processor, by the number of features: longer than writing a record takes, shorter than a run
# on a cluster should lose.
BLOCK_VOXELS = 1 << 24


def choose_block(extent: Sequence[int], units: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Choose the shape (t, z, y, x) of blocks for a region of this extent, in files of these units.

    Sides are multiples of those of all units. The shortest side in space is doubled first, so that blocks have little
    halo, and of equal ones that along x, in which voxels are contiguous.
    """
    sides = [min(n, lcm(*lengths)) for n, *lengths in zip(extent, *units, strict=True)]
    while True:
        open_axes = [axis for axis in (1, 2, 3, 0) if sides[axis] < extent[axis]]
        if not open_axes or prod(sides) * 2 > BLOCK_VOXELS:
            return tuple(sides)
        in_space = [axis for axis in open_axes if axis] or open_axes
        axis = min(in_space, key=lambda axis: (sides[axis], -axis))
        sides[axis] = min(extent[axis], 2 * sides[axis])


def cut_in_blocks(region: Box, shape: Sequence[int]) -> list[Box]:
    """Cut a region (t, z, y, x) into blocks, in scan order; those at its end may be smaller."""
    return list(region.split(shape))


def select_part(count: int, part: tuple[int, int] | None) -> range:
    """Select the numbers of the blocks of part I of N, every N-th; all without a part."""
    first, step = part or (1, 1)
    return range(first - 1, count, step)
