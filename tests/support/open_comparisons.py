"""Share of a forest's comparisons that pruning leaves to a bundle of blocks."""

from __future__ import annotations

import numpy as np

from pixelforest.kernels.cpu.host.pure_forest_buffers import BLOCK, BLOCKS_PER_VECTOR
from pixelforest.kernels.cpu.host.workspace import CpuForest, Workspace
from pixelforest.kernels.cpu.loops.pure_forest import cut_forest, find_bounds


def measure_open_share(forest: CpuForest, blocks: np.ndarray) -> float:
    """Measure the share of comparisons that the bounds of some blocks together do not decide.

    Parameters
    ----------
    forest
        A loaded forest of pure leaves.
    blocks
        Features (columns, n, 64) float32 of n blocks of 64 voxels, n a multiple of 4.

    Returns
    -------
    float
        0 if the bounds decide every comparison, 1 if none.
    """
    assert forest.votes is not None
    packed, votes = forest.packed, forest.votes
    columns, quads = len(blocks), blocks.shape[1] // BLOCKS_PER_VECTOR
    memory, _ = Workspace().voting(forest, votes, columns, quads)
    cut, _, _, _, _, bounds, around, has_nan, _, _ = memory
    *_, first, _, _, _ = cut
    bases = np.arange(quads * BLOCKS_PER_VECTOR, dtype=np.int64).reshape(quads, BLOCKS_PER_VECTOR) * BLOCK
    stack = np.ascontiguousarray(blocks, np.float32).reshape(-1)
    find_bounds(stack, bases, blocks.shape[1] * BLOCK, columns, quads, bounds, around, has_nan)
    count = 0
    for batch in range(len(votes.batches)):
        cut_forest(votes.arrays, batch, around, packed.classes, BLOCKS_PER_VECTOR * (packed.classes - 1), cut)
        count += int(first[-1])
    return count / len(votes.limits)
