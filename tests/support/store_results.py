"""Small results written into the folders of N5 and OME-Zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pixelforest.box import Box
from pixelforest.engine.formats import output_formats
from pixelforest.engine.formats.spec import ImageSpec, ImageWriter

STORES = ("n5", "compressed n5", "single-scale OME-Zarr", "multi-scale OME-Zarr")


def make_array(shape: tuple[int, ...] = (3, 300, 400)) -> np.ndarray:
    """Voxels of which none is zero, in several chunks."""
    return np.random.default_rng(1).integers(1, 250, shape, np.uint8).astype(np.float32)


def store_path(folder: Path, name: str) -> Path:
    return folder / f"out.{'n5' if 'n5' in name else 'zarr'}"


def open_store(
    folder: Path, name: str, array: np.ndarray, *, version: str = "0.4", may_replace: bool = False
) -> ImageWriter:
    """The writer of a result with the axes z y x."""
    spec = ImageSpec(
        shape=array.shape, dtype=array.dtype, axes="zyx", offset=(0, 0, 0), version=version, may_replace=may_replace
    )
    chosen = output_formats()[name]
    chosen.check_place(store_path(folder, name), "data/x", spec)
    return chosen.open(store_path(folder, name), "data/x", spec)


def write_store(folder: Path, name: str, array: np.ndarray, **options: bool) -> list[Path]:
    """A whole result, in place."""
    writer = open_store(folder, name, array, **options)  # type: ignore[arg-type]
    writer.write(Box.whole(array.shape), array)
    return writer.finish()
