"""The plane of a lane that pictures show, and the positions in it that are sampled."""

from __future__ import annotations

import numpy as np

from ...box import Box


class Plane:
    """One plane of an image, sampled at every ``step``-th row and column.

    region  box (t, z, y, x) of the plane: the first time point and the middle plane of what is computed
    step    distance of samples along y and x
    shape   number of samples along y and x
    """

    def __init__(self, region: Box, max_side: int) -> None:
        """Choose the plane of a region (t, z, y, x) whose picture has at most ``max_side`` samples along a side."""
        (t, z, y, x), (_, depth, height, width) = region.start, region.shape
        z += depth // 2
        self.region = Box((t, z, y, x), (t + 1, z + 1, y + height, x + width))
        self.step = step = max(1, -(-max(height, width) // max_side))
        rows, columns = self.shape = -(-height // step), -(-width // step)
        # Positions of the first sample: both edges are as far from the samples next to them.
        self._first = y + (height - 1 - (rows - 1) * step) // 2, x + (width - 1 - (columns - 1) * step) // 2

    @property
    def neighbours(self) -> int:
        """Number of columns of samples that have a pixel to their right in the plane: all, or all but the last."""
        last = self._first[1] + (self.shape[1] - 1) * self.step
        return self.shape[1] - (last + 1 >= self.region.stop[3])

    def put(self, box: Box, voxels: np.ndarray, into: np.ndarray, *, shift: int = 0) -> tuple[slice, slice] | None:
        """Copy the samples that are in a canonical box into a picture (y, x, c).

        voxels  (t, z, y, x, c) of the box; only the first channels are copied if ``into`` has fewer
        shift   samples are those at this distance along x from the usual ones
        Returns their places in the picture, None if there are none.
        """
        found = self.find(box, shift=shift)
        if found is None:
            return None
        places, rows, columns = found
        into[places] = self.cut(box, voxels)[rows, columns, : into.shape[2]]
        return places

    def cut(self, box: Box, voxels: np.ndarray) -> np.ndarray:
        """Return the part (y, x, c) of the voxels of a box that is in the plane."""
        t, z = self.region.start[0] - box.start[0], self.region.start[1] - box.start[1]
        return np.asarray(voxels[t, z])

    def places(self, box: Box, *, shift: int = 0) -> tuple[slice, slice] | None:
        """Return the places that ``put`` fills from a box (t, z, y, x), or a canonical one."""
        found = self.find(box, shift=shift)
        return None if found is None else found[0]

    def find(self, box: Box, *, shift: int = 0) -> tuple[tuple[slice, slice], slice, slice] | None:
        """Return the samples in a box: their places in the picture, and the rows and columns of the box."""
        if not all(box.start[i] <= self.region.start[i] < box.stop[i] for i in range(2)):
            return None
        rows, columns = self._along(0, box, 0), self._along(1, box, shift)
        return None if rows is None or columns is None else ((rows[0], columns[0]), rows[1], columns[1])

    def _along(self, axis: int, box: Box, shift: int) -> tuple[slice, slice] | None:
        """Return the samples in a box along y or x: places in the picture, and in the box."""
        low = max(box.start[axis + 2], self.region.start[axis + 2])
        high = min(box.stop[axis + 2], self.region.stop[axis + 2])
        first = self._first[axis] + shift
        begin = max(0, -(-(low - first) // self.step))
        stop = min(self.shape[axis], -(-(high - first) // self.step))
        if begin >= stop:
            return None
        at = first + begin * self.step - box.start[axis + 2]
        return slice(begin, stop), slice(at, at + (stop - begin - 1) * self.step + 1, self.step)
