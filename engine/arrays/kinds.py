"""Kinds of arrays: NumPy's, xarray's, Dask's, CuPy's, and stores that are indexed like arrays.

No library of arrays is imported: an array of xarray or Dask exists only where its library is loaded already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import CANONICAL, box_from_canonical, is_axis_order
from ..errors import InputMismatch, UsageError, setting
from ..export.images import ResultInfo
from ..storage.pixel_types import pixel_type

_HOST = (1, 3, 11, 13)  # DLPack's devices in host memory: CPU, pinned by CUDA or ROCm, managed by CUDA
_CUDA = 2  # DLPack's number of GPUs of CUDA


@frozen(eq=False)
class Given:
    """An array that was given as an argument.

    argument  its name
    data      its voxels: has ``shape``, and slices of it can be converted to NumPy arrays
    dtype     type that the voxels are read as
    letters   its axes, if it names them
    frame     the xarray.DataArray that it was given as; None: it was given as it is
    """

    argument: str
    data: Any
    dtype: np.dtype
    letters: str | None = None
    frame: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.data.shape)

    @property
    def is_dask(self) -> bool:
        """True for an array of Dask, which is computed when it is needed."""
        return is_dask(self.data)

    @property
    def is_on_device(self) -> bool:
        """True for an array in the memory of a GPU."""
        return is_on_device(self.data)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Storage unit that is read as a whole; None if there is none."""
        return None if self.is_dask else _chunks(self.data, for_writing=False)

    def wrap(self, data: Any, axes: str, own_axes: str, result: ResultInfo, region: Box) -> Any:
        """Return a result as an array of the kind of this image.

        Parameters
        ----------
        data
            The result's voxels.
        axes
            Letters of the result.
        own_axes
            Letters of the image.
        result
            Description of the result.
        region
            Canonical box of the result.
        """
        if self.frame is None:
            return data
        part = box_from_canonical(region, own_axes).slices()
        frame = self.frame[tuple(slice(None) if a == "c" else each for a, each in zip(own_axes, part, strict=True))]
        names = {"c": "c", **dict(zip(own_axes, frame.dims, strict=True))}
        dims = [names[letter] for letter in axes]
        kept = {names[letter] for letter in axes if letter != "c"}
        coords: dict[Any, Any] = {name: each for name, each in frame.coords.items() if kept.issuperset(each.dims)}
        if "c" in axes and len(result.channel_names) == result.channels:
            coords[names["c"]] = list(result.channel_names)
        return type(frame)(data, dims=dims, coords=coords, attrs=frame.attrs, name=result.name)


def look_at(argument: str, value: Any) -> Given:
    """Find out what kind of array an argument is.

    Raises InputMismatch for what cannot be used as an image: no numbers, no voxels, or on a device without CUDA.
    """
    frame = value if is_dataarray(value) else None
    data = value if frame is None else value.data
    if isinstance(data, (str, os.PathLike)):
        raise InputMismatch(f"{argument} is {str(data)!r}, the name of a file; give an array with its voxels")
    if not all(hasattr(data, name) for name in ("shape", "dtype", "__getitem__")):
        data = np.asarray(data)
    _refuse_devices(argument, data)
    shape = tuple(data.shape)
    if not 2 <= len(shape) <= len(CANONICAL) or not all(shape):
        raise InputMismatch(f"{argument} has the shape {shape}; images have 2 to 5 axes, none of length 0")
    if any(n != n for n in shape):
        raise InputMismatch(f"{argument} has chunks of unknown size; call its compute_chunk_sizes() first")
    try:
        dtype = _dtype_of(data)
        if not dtype.isnative and is_on_device(data):
            raise InputMismatch(f"{argument} has the type {dtype}; on a device it needs the byte order of this machine")
        dtype = pixel_type(dtype)
    except (TypeError, ValueError) as error:
        raise InputMismatch(f"{argument}: {error}") from None
    return Given(argument, data, dtype, None if frame is None else _letters(frame.dims), frame)


def check_axes(axes: str) -> str:
    """Return axis letters in lower case. Raises UsageError if they are no axis order."""
    if not isinstance(axes, str) or not is_axis_order(axes.lower()):
        raise UsageError(
            f"{setting('input_axes')}={axes!r} is no axis order; write distinct letters out of t, z, y, x, c that "
            "include x and y, as in 'zyxc'"
        )
    return axes.lower()


def is_dask(data: Any) -> bool:
    """Return True for an array of Dask."""
    return _is_of(data, "dask.array", "Array")


def is_dask_task() -> bool:
    """Return True in a task that a worker of a Dask cluster computes."""
    loaded = sys.modules.get("distributed")
    if loaded is None:
        return False
    try:
        loaded.get_worker()
    except ValueError:  # as Dask says that there is none
        return False
    return True


def is_on_device(data: Any) -> bool:
    """Return True for an array in the memory of a GPU of CUDA, by the interfaces that libraries have agreed on."""
    if hasattr(data, "__cuda_array_interface__"):
        return True
    return hasattr(data, "__dlpack_device__") and int(data.__dlpack_device__()[0]) == _CUDA


def name_kind(data: Any) -> str:
    """Name the class of an array, such as ``cupy.ndarray``."""
    return f"{type(data).__module__}.{type(data).__qualname__}"


def is_dataarray(value: Any) -> bool:
    """Return True for an xarray.DataArray."""
    return _is_of(value, "xarray", "DataArray")


def write_unit(target: Any) -> tuple[int, ...] | None:
    """Shape that has to be written at once, so that threads do not overwrite each other's voxels; None: unknown."""
    return _chunks(target, for_writing=True)


def _is_of(value: Any, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name, ()))


def _letters(dims: Sequence[Any]) -> str | None:
    names = [str(dim).lower() for dim in dims]
    text = "".join(names)
    return text if all(len(name) == 1 for name in names) and is_axis_order(text) else None


def _dtype_of(data: Any) -> np.dtype:
    interface = getattr(data, "__cuda_array_interface__", None)
    stated = getattr(data.dtype, "numpy_dtype", data.dtype)
    dtype: np.dtype = np.dtype(stated if interface is None else interface["typestr"])  # PyTorch has types of its own
    return dtype


def _refuse_devices(argument: str, data: Any) -> None:
    """Raise InputMismatch for an array in the memory of a device that no backend takes arrays of."""
    meta = getattr(data, "_meta", data) if is_dask(data) else data
    refused = is_on_device(meta) if is_dask(data) else False
    if not refused and not is_on_device(meta) and hasattr(meta, "__dlpack_device__"):
        refused = int(meta.__dlpack_device__()[0]) not in _HOST
    if refused:
        raise InputMismatch(
            f"{argument} ({name_kind(meta)}{' in an array of Dask' if is_dask(data) else ''}) is in the memory of a "
            "device, which is not supported; copy it to the host first"
        )


def _chunks(data: Any, *, for_writing: bool) -> tuple[int, ...] | None:
    """Shape of the chunks of an array of h5py, Zarr or TensorStore; of its shards, if it is to be written."""
    layout = getattr(data, "chunk_layout", None)
    if layout is not None:  # TensorStore
        found = (layout.write_chunk if for_writing else layout.read_chunk).shape
    else:
        found = (getattr(data, "shards", None) if for_writing else None) or getattr(data, "chunks", None)
    if not isinstance(found, tuple) or not all(isinstance(n, int) and n > 0 for n in found):
        return None
    return tuple(min(n, size) for n, size in zip(found, data.shape, strict=True))
