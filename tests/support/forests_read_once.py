"""Forests of projects with equal bytes, read once in a process: reading them takes most of the time of a small run."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from pixelforest.engine.project import StoredForest, forest
from pixelforest.engine.project.hdf5 import ProjectFile

MAX_KEPT = 64
read_forests = forest._read_forests
_kept: OrderedDict[tuple[bytes, tuple[str, ...]], tuple[StoredForest, ...]] = OrderedDict()


def read_or_recall(file: ProjectFile, places: Sequence[str]) -> tuple[StoredForest, ...]:
    """Stand in for the function of ``engine.project.forest`` that reads all trees of a file."""
    key = hashlib.sha256(file.path.read_bytes()).digest(), tuple(places)
    forests = _kept.pop(key, None) or read_forests(file, places)
    _kept[key] = forests
    while len(_kept) > MAX_KEPT:
        _kept.popitem(last=False)
    return forests
