"""Images that suit an output format, and writers for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..engine.formats.spec import ImageSpec, ImageWriter, OutputFormat


def make_image(chosen: OutputFormat, dtype: str | None = None, channels: int | None = None) -> tuple[np.ndarray, str]:
    """Make noise with as many dimensions as the format takes, of distinct sizes, and its axes; uint8 if possible."""
    limits = chosen.limits
    if dtype is None:
        dtype = "uint8" if limits.dtypes is None or "uint8" in limits.dtypes else min(limits.dtypes)
    if channels is None:
        channels = 3 if limits.channels is None or 3 in limits.channels else min(limits.channels)
    spatial = {None: "tzyx", 4: "tzyx", 3: "zyx", 2: "yx"}[limits.max_dims]
    sizes = {"t": 2, "z": 3, "y": 11, "x": 13, "c": channels}
    axes = spatial + "c"
    rng = np.random.default_rng(5)
    shape = tuple(sizes[a] for a in axes)
    if dtype.startswith("float"):
        return rng.uniform(-3, 5, shape).astype(dtype), axes
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True), axes


def make_spec(array: np.ndarray, axes: str) -> ImageSpec:
    """Describe an image without metadata, which may replace an earlier one."""
    return ImageSpec(array.shape, array.dtype, axes, (0,) * array.ndim, may_replace=True)


def target_path(folder: Path, chosen: OutputFormat) -> Path:
    """Path of a result of the format."""
    return folder / f"{'out_{slice_index}' if chosen.sequence else 'out'}.{chosen.extension}"


def open_writer(folder: Path, chosen: OutputFormat, spec: ImageSpec) -> ImageWriter:
    """Open a writer for a result in a folder."""
    return chosen.open(target_path(folder, chosen), "exported_data", spec)
