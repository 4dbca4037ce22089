"""Which stored number types can be pixels, and as what they are read."""

from __future__ import annotations

import numpy as np

MAX_IMAGE_BYTES = 2**46  # 64 TiB; a header that declares more is taken for damaged


def pixel_type(stored: np.dtype) -> np.dtype:
    """The native dtype that pixels of a stored dtype are read as. Raises ValueError for what is not a number.

    Truth values become uint8 and float16 becomes float32, both without loss; byte order becomes the machine's.
    """
    if stored.kind == "b":
        return np.dtype(np.uint8)
    if stored == np.float16:
        return np.dtype(np.float32)
    if stored.kind in "ui" or (stored.kind == "f" and stored.itemsize <= 8):
        return np.dtype(f"{stored.kind}{stored.itemsize}")
    raise ValueError(f"pixels of type {stored} cannot be used; integers and floats of up to 64 bits can")
