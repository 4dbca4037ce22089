"""Components that are one long path, which needs every possible union, the last one far from the first."""

from __future__ import annotations

import numpy as np


def spiral(n: int) -> np.ndarray:
    """Make a path that winds to the middle of a plane, with walls as wide as itself."""
    found = np.zeros((n, n), np.uint8)
    y, x, dy, dx = 0, 0, 0, 1
    found[0, 0] = 1
    for length in [n - 1, *(k for k in range(n - 1, 0, -2) for _ in range(2))]:
        for _ in range(length):
            y, x = y + dy, x + dx
            found[y, x] = 1
        dy, dx = dx, -dy
    return found


def snake(shape: tuple[int, int, int]) -> np.ndarray:
    """Make a path one voxel thick through every second row of every second plane."""
    depth, height, width = shape
    found = np.zeros(shape, np.uint8)
    found[::2, ::2] = 1
    ends = iter(range(10**9))
    for z in range(0, depth, 2):
        for y in range(1, height, 2):
            found[z, y, (width - 1) * (next(ends) % 2)] = 1
    for z in range(1, depth, 2):
        found[z, (height - 1) * (z // 2 % 2 == 0), 0] = 1
    return found
