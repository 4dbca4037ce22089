"""Zarr arrays whose metadata or codecs tensorstore refuses although other libraries read them.

Metadata are corrected before they are passed to tensorstore. Chunks with codecs that it does not support are decoded
here. Other codecs are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ....frozen import frozen
from ...errors import InputError
from ...storage.chunk_store import MAX_CHUNK_BYTES, StorePath, chunk_reader, open_array, virtual_array
from .zarr_codecs import DECODERS

if TYPE_CHECKING:
    import tensorstore

__all__ = ["mend_metadata", "open_zarr"]

# Codecs of tensorstore, with the members that it accepts.
_LIBRARY_2 = {
    "blosc": {"cname", "clevel", "shuffle", "blocksize"},
    "bz2": {"level"},
    "gzip": {"level"},
    "zlib": {"level"},
    "zstd": {"level"},
}
_LIBRARY_3 = ("blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd")
_FLOAT_WORDS = ("NaN", "Infinity", "-Infinity")


@frozen
class _Codec:
    """One step of decoding: its name without a prefix, and its settings."""

    name: str
    settings: Mapping[str, Any]


@frozen
class _Layout:
    """Layout needed to decode the chunks of an array without tensorstore.

    dtype      as stored, with its byte order
    order      of the voxels in a chunk, "C" or "F"
    prefix     of a chunk's file; ``separator`` between its indices
    codecs     that undo compression and filters, in the order of decoding
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype
    fill_value: Any
    order: str
    prefix: str
    separator: str
    codecs: tuple[_Codec, ...]


def open_zarr(zarr_format: int, folder: StorePath, metadata: Mapping[str, Any]) -> tensorstore.TensorStore:
    """Open the array in a folder for reading, by its metadata.

    Raises InputError for a codec that cannot be decoded, and tensorstore's exceptions.
    """
    driver = "zarr" if zarr_format == 2 else "zarr3"
    mended = mend_metadata(zarr_format, metadata)
    layout = _find_layout(zarr_format, mended, folder)
    if layout is not None:
        return _open_decoded(folder, layout)
    if json.dumps(mended, sort_keys=True) == json.dumps(metadata, sort_keys=True):  # 1 and true are equal in Python
        return open_array(driver, folder)
    return open_array(driver, folder, mended, assume=True)


def mend_metadata(zarr_format: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Convert metadata to the form that tensorstore reads; unknown parts stay unchanged."""
    mended = dict(metadata)
    dtype = _dtype_of(mended.get("dtype" if zarr_format == 2 else "data_type"))
    if zarr_format != 2:
        mended["fill_value"] = _mend_fill_value(mended.get("fill_value"), dtype)
        return mended
    if dtype is not None:
        mended["dtype"] = dtype.str
    mended["fill_value"] = _mend_fill_value(mended.get("fill_value"), dtype)
    mended["filters"] = [f for f in mended.get("filters") or () if not _is_identity(f)] or None
    mended["order"] = mended.get("order") or "C"
    mended["dimension_separator"] = mended.get("dimension_separator") or "."
    compressor = mended.get("compressor")
    if isinstance(compressor, dict) and compressor.get("id") in _LIBRARY_2:
        known = {"id", *_LIBRARY_2[compressor["id"]]}
        kept = {k: v for k, v in compressor.items() if k in known}
        if kept.get("level") == -1:  # zlib's default
            del kept["level"]
        mended["compressor"] = kept
    mended.setdefault("compressor", None)
    return mended


def _dtype_of(stored: object) -> np.dtype | None:
    try:
        dtype = np.dtype(stored) if isinstance(stored, str) else None
    except TypeError:
        return None
    return dtype if dtype is not None and dtype.kind in "biuf" else None


def _mend_fill_value(value: object, dtype: np.dtype | None) -> object:
    """Convert a fill value to a number or word that tensorstore accepts for this type."""
    if dtype is None or value is None:
        return value
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str) and value not in _FLOAT_WORDS and not value.startswith("0x"):
        try:
            value = float(value) if dtype.kind == "f" else int(value)
        except ValueError:
            return value
    if dtype.kind == "b" and value in (0, 1):
        return bool(value)
    return int(value) if dtype.kind in "iu" and isinstance(value, bool) else value


def _is_identity(settings: object) -> bool:
    """Return True for a filter without effect: a shuffle of elements of one byte."""
    return isinstance(settings, dict) and settings.get("id") == "shuffle" and settings.get("elementsize", 4) == 1


# ---------------------------------------------------------------------------------------------------- own decoding


def _find_layout(zarr_format: int, metadata: Mapping[str, Any], folder: object) -> _Layout | None:
    """Find the layout for decoding here; None if tensorstore decodes. Raises InputError for an unknown codec."""
    return _find_layout_2(metadata, folder) if zarr_format == 2 else _find_layout_3(metadata, folder)


def _find_layout_2(metadata: Mapping[str, Any], folder: object) -> _Layout | None:
    compressor, filters = metadata.get("compressor"), metadata.get("filters") or []
    steps = [*([compressor] if compressor is not None else []), *reversed(filters)]
    if not filters and (compressor is None or (isinstance(compressor, dict) and compressor.get("id") in _LIBRARY_2)):
        return None
    codecs = [_Codec(str(s.get("id")), s) if isinstance(s, dict) else _Codec(str(s), {}) for s in steps]
    _check_known(codecs, folder, "blosc, zstd, zlib, gzip or bz2")
    dtype = _dtype_of(metadata.get("dtype"))
    if dtype is None:
        return None  # tensorstore reports the error
    return _Layout(
        shape=_sizes(metadata.get("shape")),
        chunk=_sizes(metadata.get("chunks")),
        dtype=dtype,
        fill_value=metadata.get("fill_value"),
        order="F" if metadata["order"] == "F" else "C",
        prefix="",
        separator=metadata["dimension_separator"],
        codecs=tuple(codecs),
    )


def _find_layout_3(metadata: Mapping[str, Any], folder: object) -> _Layout | None:
    steps = _steps_of(metadata)
    codecs = [_Codec(str(s.get("name")).removeprefix("numcodecs."), s.get("configuration") or {}) for s in steps]
    names = [str(s.get("name")) for s in steps]
    if "sharding_indexed" in names:
        inner = [str(s.get("name")) for s in _steps_of(codecs[names.index("sharding_indexed")].settings)]
        strange = next((n for n in inner if n not in _LIBRARY_3), None)
        if strange is not None:
            raise _unknown_codec(folder, strange, "blosc, zstd or gzip")
        return None
    if all(name in _LIBRARY_3 for name in names):
        return None
    _check_known([c for c in codecs if c.name != "bytes"], folder, "blosc, zstd or gzip")
    dtype = _dtype_of(metadata.get("data_type"))
    if dtype is None:
        return None
    endian = next((c.settings.get("endian") for c in codecs if c.name == "bytes"), "little")
    keys = metadata.get("chunk_key_encoding") or {}
    is_default = keys.get("name", "default") == "default"
    grid = (metadata.get("chunk_grid") or {}).get("configuration") or {}
    return _Layout(
        shape=_sizes(metadata.get("shape")),
        chunk=_sizes(grid.get("chunk_shape")),
        dtype=dtype.newbyteorder(">" if endian == "big" else "<"),
        fill_value=metadata.get("fill_value"),
        order="C",
        prefix="c" if is_default else "",
        separator=(keys.get("configuration") or {}).get("separator", "/" if is_default else "."),
        codecs=tuple(c for c in reversed(codecs) if c.name != "bytes"),
    )


def _steps_of(holder: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the codecs of metadata or of a shard."""
    return [s if isinstance(s, dict) else {"name": str(s)} for s in holder.get("codecs") or ()]


def _sizes(stored: object) -> tuple[int, ...]:
    if not isinstance(stored, list) or not all(type(n) is int and n > 0 for n in stored):
        raise ValueError("its metadata hold no valid shapes of the array and its chunks")
    return tuple(stored)


def _check_known(codecs: Sequence[_Codec], folder: object, able: str) -> None:
    for codec in codecs:
        if codec.name not in DECODERS:
            raise _unknown_codec(folder, codec.name, able)


def _unknown_codec(folder: object, name: str, able: str) -> InputError:
    return InputError(
        f"cannot read {folder}: its chunks are stored with the codec {name}, which is not decoded here; store it again "
        f"with {able} and without filters"
    )


def _open_decoded(folder: StorePath, layout: _Layout) -> tensorstore.TensorStore:
    if layout.separator not in (".", "/"):
        raise ValueError(f"its metadata name {str(layout.separator)[:20]!r} as the separator in names of chunks")
    if len(layout.shape) != len(layout.chunk):
        raise ValueError("the shapes of the array and of its chunks have different lengths")
    if prod(layout.chunk) * layout.dtype.itemsize > MAX_CHUNK_BYTES:
        raise ValueError(f"it declares chunks of {' x '.join(map(str, layout.chunk))}, too large to be read")
    read_file = chunk_reader(folder)

    def read(index: tuple[int, ...]) -> np.ndarray:
        key = layout.separator.join([*([layout.prefix] if layout.prefix else []), *map(str, index)])
        stored = read_file(key)
        if stored is None:
            return np.full(layout.chunk, _fill_of(layout), layout.dtype.newbyteorder("="))
        return _decode(stored, layout)

    return virtual_array(layout.shape, layout.chunk, layout.dtype.newbyteorder("="), read)


def _fill_of(layout: _Layout) -> float:
    value = layout.fill_value
    return float(value.lower().replace("infinity", "inf")) if isinstance(value, str) else value or 0


def _decode(stored: bytes, layout: _Layout) -> np.ndarray:
    """Decode the voxels of a chunk in native byte order. Raises ValueError for damaged data."""
    size = prod(layout.chunk) * layout.dtype.itemsize
    for codec in layout.codecs:
        try:
            stored = DECODERS[codec.name](stored, codec.settings, size)
        except Exception as error:  # every library raises its own exceptions
            raise ValueError(f"a chunk is damaged ({codec.name}: {error})") from None
    if len(stored) != size:
        raise ValueError(f"a chunk is damaged: {len(stored)} bytes instead of {size}")
    voxels = np.frombuffer(stored, layout.dtype).reshape(layout.chunk, order="F" if layout.order == "F" else "C")
    return voxels.astype(layout.dtype.newbyteorder("="))
