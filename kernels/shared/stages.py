"""Source of a second stage on the host: channels of the image, then the probabilities of the first stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract import Conversion, StagedSource, TileJob, TileResult
from .conversion import convert


def as_raw_type(probabilities: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert probabilities to the type of the raw image as ilastik does.

    Parameters
    ----------
    probabilities
        float32, any shape.
    dtype
        Type of the raw image.

    Returns
    -------
    numpy.ndarray
        The same shape in ``dtype``. Integers are ``(max - min) * p - min``, truncated and wrapped as x86-64 processors
        do: int32 and int64 have one single value. Types up to 16 bits are computed in float32, wider ones in float64.
    """
    values = probabilities
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        kind: Any = np.float32 if dtype.itemsize < 4 else np.float64
        values = probabilities.astype(kind) * kind(info.max - info.min) - kind(info.min)
    return convert(values, Conversion(values.dtype, dtype))[0]


def stack_stages(
    source: StagedSource, tile_results: Callable[[TileJob[Any, Any]], tuple[TileResult, ...]]
) -> np.ndarray:
    """Compute the source (c, z, y, x) of a second stage, in the type of the image.

    Parameters
    ----------
    source
        First stage, and the type of the image.
    tile_results
        Computes a tile, see ``PixelBackend.tile_results``.
    """
    job = source.job
    inside = (slice(a - s, b - s) for a, b, s in zip(*job.tile, job.start, strict=True))
    (found,) = tile_results(job)
    probabilities = as_raw_type(found.values, source.dtype).transpose(3, 0, 1, 2)
    return np.concatenate([job.source[(slice(None), *inside)], probabilities])
