"""Colours in which ilastik shows the classes of a project."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from ..errors import ProjectError
from .hdf5 import open_project

Colour = tuple[int, int, int]

# The first colours that ilastik gives to new classes (volumina's default16_new), for projects that store none.
DEFAULT_COLOURS: tuple[Colour, ...] = (
    (255, 225, 25),
    (0, 130, 200),
    (230, 25, 75),
    (70, 240, 240),
    (60, 180, 75),
    (250, 190, 190),
    (170, 110, 40),
    (145, 30, 180),
    (0, 128, 128),
    (245, 130, 48),
    (240, 50, 230),
    (210, 245, 60),
    (170, 255, 195),
    (230, 190, 255),
    (128, 0, 0),
    (128, 128, 0),
)
# Okabe and Ito's colours, which people with all kinds of colour vision tell apart; black is last.
OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 0),
)


@lru_cache(maxsize=16)
def read_colours(path: Path, group: str, count: int) -> tuple[Colour, ...]:
    """Read the colours of the classes of an applet's group; those that are missing or damaged are ilastik's own.

    Recent ones are kept for further lanes.
    """
    try:
        with open_project(path) as file:
            stored = file.array(f"{group}/LabelColors", "integers", max_bytes=1 << 16)
    except ProjectError:  # the project is fine without
        stored = None
    found = [DEFAULT_COLOURS[i % len(DEFAULT_COLOURS)] for i in range(count)]
    if stored is not None and stored.ndim == 2 and stored.shape[1] >= 3:
        for i, (red, green, blue) in enumerate(stored[:count, :3].clip(0, 255).tolist()):
            found[i] = (red, green, blue)
    return tuple(found)
