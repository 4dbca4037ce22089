"""Levels, chunks and files of an OME-Zarr image that is written, and the metadata of its arrays; axes t c z y x."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import numpy as np

from ....box import Box
from ...axes import box_from_canonical as box_from
from ...axes import canonical_shape
from ...requests import OME_ZARR_VERSIONS
from ...storage.chunks import chunk_shape
from ..spec import ImageSpec
from .ome_metadata import AXES
from .pyramid import halved_shapes, shrunk_size

CHUNK_BYTES = 1_024_000
SHARDED_ABOVE = 256  # chunks of an array; fewer files than that are harmless
SHARD_CHUNKS = 32  # at most; a shard is held in memory until it is complete
_BLOSC = {"cname": "lz4", "clevel": 5, "blocksize": 0}
_SCALE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,60}")


def level_shapes(
    spec: ImageSpec, shape: tuple[int, ...], chunk: tuple[int, ...], *, is_multiscale: bool
) -> dict[str, tuple[int, ...]]:
    """Choose the levels to write: name -> shape (t, c, z, y, x), the whole result first.

    They follow the levels of the input, starting from the processed one; without such, each level is half the size of
    the previous one until it fits into one chunk.
    """
    scales = spec.scales
    first = scales.active if scales is not None and _SCALE_NAME.fullmatch(scales.active) else "s0"
    if not is_multiscale:
        return {first: shape}
    if scales is None or len(scales.shapes) < 2:
        return {f"s{i}": s for i, s in enumerate(halved_shapes(shape, AXES, chunk))}
    levels = {first: shape}
    names = list(scales.shapes)
    active = scales.shapes[scales.active]
    sizes = dict(zip(AXES, shape, strict=True))
    is_whole = all(active.get(a, 1) == sizes[a] for a in "zyx")
    last = shape
    for name in names[names.index(scales.active) + 1 :]:
        found = scales.shapes[name]
        wanted = {a: found.get(a, 1) for a in "zyx"}
        if not is_whole:
            wanted = {a: shrunk_size(sizes[a], active.get(a, 1) / max(1, n)) for a, n in wanted.items()}
            if sum(n > 1 for n in wanted.values()) < 2:
                break
        level = tuple(wanted.get(a, sizes[a]) for a in AXES)
        if min(level) < 1 or any(n > m for n, m in zip(level, last, strict=True)) or not _SCALE_NAME.fullmatch(name):
            break
        levels[name] = last = level
    return levels


def shard_shape(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    """Choose the shape of one file: a chunk of a small array; for a large one a row of chunks along x, or several rows.

    Never several chunks along z: results arrive plane by plane, and incomplete shards take memory.
    """
    counts = [ceil(n / m) for n, m in zip(shape, chunk, strict=True)]
    if prod(counts) <= SHARDED_ABOVE:
        return tuple(chunk)
    along_x = min(counts[4], SHARD_CHUNKS)
    along_y = min(counts[3], SHARD_CHUNKS // along_x)
    return (*chunk[:3], chunk[3] * along_y, chunk[4] * along_x)


def zarr2_metadata(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: np.dtype) -> dict[str, Any]:
    """Content of the ``.zarray`` of a level, for OME-Zarr 0.4."""
    return {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunk,
        "dtype": np.dtype(dtype).newbyteorder("<").str,
        "compressor": {"id": "blosc", "shuffle": 1, **_BLOSC},
        "dimension_separator": "/",
        "fill_value": 0,
        "filters": None,
        "order": "C",
    }


def zarr3_metadata(
    shape: tuple[int, ...],
    unit: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: np.dtype,
    attributes: dict[str, Any],
) -> dict[str, Any]:
    """Content of the ``zarr.json`` of a level, for OME-Zarr 0.5; files of shape ``unit`` hold chunks."""
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    compression = {
        "name": "blosc",
        "configuration": {**_BLOSC, "shuffle": "shuffle", "typesize": dtype.itemsize},
    }
    codecs: list[dict[str, Any]] = [little, compression]
    if unit != chunk:
        index = [little, {"name": "crc32c"}]
        shard = {"chunk_shape": chunk, "codecs": codecs, "index_codecs": index, "index_location": "end"}
        codecs = [{"name": "sharding_indexed", "configuration": shard}]
    return {
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": unit}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": codecs,
        "fill_value": 0,
        "dimension_names": list(AXES),
        "attributes": attributes,
    }


def largest_level(spec: ImageSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and chunks of the largest level, t c z y x."""
    shape = _ordered(canonical_shape(spec.shape, spec.axes))
    return shape, chunk_shape(shape, AXES, spec.dtype.itemsize, chunk_bytes=CHUNK_BYTES)


def file_shape(shape: Sequence[int], chunk: tuple[int, ...], version: str) -> tuple[int, ...]:
    """Shape of one file of a level."""
    return chunk if version == "0.4" else shard_shape(shape, chunk)


def file_shape_of_result(spec: ImageSpec) -> tuple[int, ...]:
    """Shape of one file of the largest level, in output axes."""
    unit = file_shape(*largest_level(spec), spec.version or OME_ZARR_VERSIONS[0])
    sizes = dict(zip(AXES, unit, strict=True))
    return tuple(min(sizes[a], n) for a, n in zip(spec.axes, spec.shape, strict=True))


def _ordered(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Reorder canonical sizes to the order of the store."""
    return box_from(Box.whole(sizes), AXES).stop
