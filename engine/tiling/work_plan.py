"""Predicted cost of computing one lane, as far as it is known before a voxel is read."""

from __future__ import annotations

from ...frozen import frozen
from ...kernels.contract import Voxels


@frozen
class WorkPlan:
    """Tiles of a lane, and their memory and time.

    tiles          number of tiles over all time points
    tile           sizes along z, y, x of the largest one
    halo           voxels along z, y, x that are read around a tile
    memory_bytes   maximum of tiles in work, intermediate volumes and writers together
    scratch_bytes  minimum of the intermediate volumes of one time point, within that and beyond it in temporary files
    seconds        estimate from measured rates; None if there are none for this device
    """

    tiles: int
    tile: Voxels
    halo: Voxels
    memory_bytes: int
    scratch_bytes: int = 0
    seconds: float | None = None
