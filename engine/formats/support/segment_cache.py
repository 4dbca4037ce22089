"""Cache of decoded strips and tiles of one image, within a limit of bytes.

Looking up, adding and dropping a segment take constant time, since files with one row per strip have tens of thousands
of segments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any

import numpy as np

__all__ = ["ENTRY_BYTES", "SegmentCache"]

ENTRY_BYTES = 512  # of an entry besides its voxels, so that segments without voxels are limited, too

_Key = tuple[int, int]


class SegmentCache:
    """Cache of the most recently used segments. A segment requested by several threads at once is decoded by one.

    decode     (page, segment index) -> voxels, or None for a segment that is not stored
    max_bytes  of all segments; the latest one is kept whatever its size
    """

    def __init__(self, decode: Callable[[Any, int], np.ndarray | None], max_bytes: int) -> None:
        self._decode, self._max_bytes, self._lock = decode, max_bytes, Lock()
        # Separate, so that dropping the oldest segment never has to skip unfinished ones.
        self._pending: dict[_Key, Future[np.ndarray | None]] = {}
        self._decoded: OrderedDict[_Key, np.ndarray | None] = OrderedDict()
        self._bytes = 0

    def get(self, number: int, index: int, page: Any) -> np.ndarray | None:
        """Get segment ``index`` of page ``number``."""
        key = (number, index)
        with self._lock:
            if key in self._decoded:
                self._decoded.move_to_end(key)
                return self._decoded[key]
            pending = self._pending.get(key)
            is_mine = pending is None
            if pending is None:
                pending = self._pending[key] = Future()
        return self._fill(key, pending, page) if is_mine else pending.result()

    def _fill(self, key: _Key, pending: Future[np.ndarray | None], page: Any) -> np.ndarray | None:
        try:
            data = self._decode(page, key[1])
        except BaseException as error:
            with self._lock:
                del self._pending[key]
            pending.set_exception(error)
            raise
        with self._lock:
            del self._pending[key]
            self._decoded[key] = data
            self._bytes += _size(data)
            while self._bytes > self._max_bytes and len(self._decoded) > 1:
                self._bytes -= _size(self._decoded.popitem(last=False)[1])
        pending.set_result(data)
        return data


def _size(data: np.ndarray | None) -> int:
    return ENTRY_BYTES + (0 if data is None else data.nbytes)
