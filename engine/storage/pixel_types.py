"""Number types that pixels may be stored in, and the types they are read as."""

from __future__ import annotations

import numpy as np

MAX_IMAGE_BYTES = 2**46  # 64 TiB; a header that declares more is treated as damaged


def pixel_type(stored: np.dtype) -> np.dtype:
    """Native dtype that pixels of a stored dtype are read as. Raises ValueError for types that are not numbers.

    Booleans are read as uint8 and float16 as float32, both without loss; byte order becomes the machine's.
    """
    if stored.kind == "b":
        return np.dtype(np.uint8)
    if stored == np.float16:
        return np.dtype(np.float32)
    if stored.kind in "ui" or (stored.kind == "f" and stored.itemsize <= 8):
        return np.dtype(f"{stored.kind}{stored.itemsize}")
    raise ValueError(f"pixels of type {stored} cannot be used; integers and floats of up to 64 bits can")
