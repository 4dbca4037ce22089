"""Operations on labels: connected components of slabs, label images, thresholds and the growing of cores.

A slab is a C-contiguous part (z, y, x) of a frame with whole rows along x. Ids of components in a frame are ``base``
plus their number in the slab; an array of int64 over these ids holds parents or final ids.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .thresholds import MapPlan
from .tile import Voxels


class Storage(Protocol):
    """Allocator of a backend's large arrays on the host."""

    def array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Allocate an array of zeros, in memory or in a file."""
        ...

    def free(self, array: np.ndarray) -> None:
        """Free an array that is no longer used."""
        ...


class SlabComponents(Protocol):
    """Components of one slab in the backend's own form, numbered from 1 by their first voxel in scan order."""

    @property
    def count(self) -> int:
        """Number of components."""
        ...


class ValueTable(Protocol):
    """Values of a label image in order of first occurrence; their ids are 1, 2, …."""

    @property
    def originals(self) -> np.ndarray:
        """(count,) uint64: the value of each id, from id 1 on."""
        ...

    def renumber(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write the ids of the next values in scan order into an array.

        Parameters
        ----------
        values
            Integers that are not negative.
        out
            uint32 of the same shape, all zeros.

        Raises
        ------
        KernelError
            The values are not integers.
        """
        ...


class LabelBackend(Protocol):
    """Labels and thresholds. Methods may be called from several threads at once, in any order.

    Slabs passed to methods must come from ``label_slab`` of the same backend.
    """

    def warm(self) -> None:
        """Compile the kernels that do not depend on a project, as ``PixelBackend.warm``. Raises KernelError."""
        ...

    def label_slab(self, values: np.ndarray, storage: Storage) -> SlabComponents:
        """Find the components of equal value of a slab.

        Parameters
        ----------
        values
            (z, y, x) bool, integers or floats. 0 is background; a NaN equals nothing, not even itself.
        storage
            Allocator for the data kept of the slab.

        Returns
        -------
        SlabComponents
            Neighbours share a face (4 in 2-d, 6 in 3-d).

        Raises
        ------
        KernelError
            Values of this type cannot be compared, or there are too many of them.
        """
        ...

    def join_slabs(
        self, a: Any, b: Any, axis: int, values_a: np.ndarray, values_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the components of two slabs that meet with equal values.

        Parameters
        ----------
        a, b
            Two slabs; b follows a along z or y.
        axis
            0: the last plane of a meets the first of b. 1: the last row of a's last plane meets the first row of b's
            first plane.
        values_a, values_b
            The values of these two planes or rows.

        Returns
        -------
        tuple of numpy.ndarray
            Numbers of the components of a and of b, pair by pair.
        """
        ...

    def unite(
        self, parents: np.ndarray, base_a: int, numbers_a: np.ndarray, base_b: int, numbers_b: np.ndarray
    ) -> None:
        """Record in ``parents``, in place, that pairs of components are the same; the smaller id stays a root."""
        ...

    def number_components(self, parents: np.ndarray) -> int:
        """Replace parents by final ids, in place.

        Parameters
        ----------
        parents
            Entries from 1 on become 1, 2, … in the order of the roots; entry 0 becomes 0.

        Returns
        -------
        int
            Number of components.
        """
        ...

    def add_sizes(self, slab: Any, ids: np.ndarray, base: int, sizes: np.ndarray) -> None:
        """Add the voxels of a slab's components to ``sizes[ids[…]]``, int64."""
        ...

    def drop_ids(self, ids: np.ndarray, keep: np.ndarray) -> None:
        """Set to 0, in place, the ids i with ``keep[i]`` False."""
        ...

    def mark_overlaps(
        self, a: Any, ids_a: np.ndarray, base_a: int, b: Any, ids_b: np.ndarray, base_b: int, marks: np.ndarray
    ) -> None:
        """Mark components of b that share a voxel with a component of a.

        Parameters
        ----------
        a, b
            Components of the same slab of two segmentations. Components of a with id 0 are left out.
        ids_a, ids_b, base_a, base_b
            Final ids, and the base of the slab in each.
        marks
            uint8; ``marks[id of b]`` is set to 1.
        """
        ...

    def write_labels(self, slab: Any, ids: np.ndarray, base: int, out: np.ndarray) -> None:
        """Write the ids of a slab's voxels into out (z, y, x) uint32, which is all zeros. Ids of 0 are not written."""
        ...

    def new_value_table(self) -> ValueTable:
        """Make a table for one frame of a label image."""
        ...

    def smooth_maps(
        self, source: np.ndarray, start: Voxels, tile: tuple[Voxels, Voxels], image: Voxels, plan: MapPlan
    ) -> tuple[np.ndarray, ...]:
        """Smooth the planned channels of a tile of prediction maps.

        Parameters
        ----------
        source
            (z, y, x, c) of any real dtype, whole rows along x; its first voxel is at ``start`` in the image. Around
            the tile it holds the planes and rows that the taps reach, as far as the image goes.
        start
            Position of the source in the image.
        tile
            First and last + 1 voxel along (z, y, x).
        image
            Size of the image along (z, y, x).
        plan
            Channels, value range and taps.

        Returns
        -------
        tuple of numpy.ndarray
            (z, y, x) float32 of the tile, for each channel of the plan.

        Notes
        -----
        Passes run along x, then y, then z; each sums in double from the first neighbour to the last and stores
        float32. Borders mirror without repeating the edge voxel.
        """
        ...

    def seed_minima(self, cost: np.ndarray, labels: np.ndarray) -> int:
        """Label voxels of less cost than each of their neighbours.

        Parameters
        ----------
        cost
            (z, y, x) float32.
        labels
            (z, y, x) uint32 zeros; minima get 1, 2, … in scan order.

        Returns
        -------
        int
            Number of minima.
        """
        ...

    def grow_regions(self, cost: np.ndarray, labels: np.ndarray, limit: float, storage: Storage) -> None:
        """Grow labels, in place, by a priority flood.

        Parameters
        ----------
        cost
            (z, y, x) float32.
        labels
            (z, y, x) uint32.
        limit
            Maximum cost of a reached voxel.
        storage
            Allocator; 12 bytes for each pending voxel, at most for all.

        Notes
        -----
        Labelled voxels with an unlabelled neighbour are pushed in scan order. The smallest key is popped until it
        exceeds the limit; unlabelled neighbours (-z -y -x +x +y +z) get the label at once and are pushed with the
        larger of the popped key and their cost. Among equal keys the order is that of libstdc++'s heap.
        """
        ...

    def add_label_sizes(self, labels: np.ndarray, sizes: np.ndarray) -> None:
        """Add the voxels of each label, uint32, to ``sizes[label]``, int64."""
        ...

    def drop_labels(self, labels: np.ndarray, keep: np.ndarray) -> None:
        """Set to 0, in place, the labels i with ``keep[i]`` False."""
        ...
