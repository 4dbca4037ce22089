"""Limits on the blocks of blockwise results, which a project chooses: they must not multiply the work excessively."""

from __future__ import annotations

from math import ceil, prod

from ....kernels.contract import Voxels
from ...errors import ProjectError
from ...project import ObjectProject
from ...project.object_features import BLOCKWISE

# Work of a block that does not depend on its size, in voxels of objects found, measured and classified.
BLOCK_VOXELS = 20_000
# Halos multiply the work of usual settings by 1.5 to 30, that of blocks of 8 pixels by 600.
MAX_REPETITION = 1_000
# So few blocks take too little time to be refused.
HARMLESS_BLOCKS = 1_000


def check_blocks(project: ObjectProject, shape: Voxels) -> None:
    """Refuse blocks that would take a thousand times as long as the frame (z, y, x). Raises ProjectError."""
    sizes, halos = project.blocks.shape, project.blocks.halo
    count = prod(ceil(n / size) for n, size in zip(shape, sizes, strict=True))
    if count <= HARMLESS_BLOCKS:
        return
    padded = prod(min(n, size + 2 * halo) for n, size, halo in zip(shape, sizes, halos, strict=True))
    if count * (padded + BLOCK_VOXELS) > MAX_REPETITION * prod(shape):
        raise ProjectError(
            f"project '{project.path}', {BLOCKWISE}/BlockShape3dDict: cuts an image of {shape} voxels (z, y, x) into "
            f"{count} blocks of {sizes} with halos of {halos}, far more work than the image itself; "
            "set larger blocks in ilastik and save, or export results that are not blockwise"
        )
