"""Arrays of other libraries in the memory of devices: tiles read from them and write into them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from .tile import TileJob


class ArrayBackend(Protocol):
    """Arrays of other libraries, such as CuPy's, on the devices of a backend. Nothing of them is copied to the host."""

    def adopt(self, arrays: Sequence[Any]) -> list[Any]:
        """Return arrays as sources, masks and targets of tiles; their memory is shared.

        Parameters
        ----------
        arrays
            Have CUDA's array interface, or else that of DLPack.

        Returns
        -------
        list
            Arrays with ``shape``, ``dtype``, slices and ``transpose``, which make views.

        Raises
        ------
        DeviceUnavailable
            They are on several devices, or on one that the backend does not use.
        DeviceFailed
            The device failed.

        Notes
        -----
        Waits for the calling thread's work on the arrays.
        """
        ...

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, like: Any) -> Any:
        """Allocate an array on the device of another adopted one. Raises DeviceOutOfMemory."""
        ...

    def write_results(self, job: TileJob[Any, Any]) -> None:
        """Compute all wanted results of a tile into its targets. Waits for the device.

        Parameters
        ----------
        job
            A tile whose source, mask and targets are adopted arrays, or views of them, of one device. The results are
            not converted.

        Raises
        ------
        DeviceOutOfMemory
            Not even a small part of the tile fits.
        DeviceFailed
            The device failed; no other one takes over.
        """
        ...

    def restoring(self) -> AbstractContextManager[None]:
        """Restore what other libraries use on the calling thread, devices and streams, at the end of the context."""
        ...
