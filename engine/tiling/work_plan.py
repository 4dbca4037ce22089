"""What computing one lane will take, as far as it can be said before a voxel is read."""

from __future__ import annotations

from dataclasses import dataclass

Voxels = tuple[int, int, int]


@dataclass(frozen=True)
class WorkPlan:
    """How a lane is cut into pieces, and what they need.

    tiles          how many pieces are computed one by one, over all time points
    tile           sizes along z, y, x of the largest one
    halo           voxels along z, y, x that are read around a tile
    memory_bytes   at most so much is asked for by tiles in work, intermediate volumes and writers together
    scratch_bytes  of that, and beyond it in temporary files: the intermediate volumes of one time point, at least
    seconds        an estimate from measured rates; None where there are none for this device
    """

    tiles: int
    tile: Voxels
    halo: Voxels
    memory_bytes: int
    scratch_bytes: int = 0
    seconds: float | None = None
