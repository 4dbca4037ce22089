"""Number types that pixels may be stored in, and the types they are read as."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..errors import InputError, damaged_input

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


def check_image(what: object, shape: Sequence[int], stored: np.dtype) -> np.dtype:
    """Check the declared shape and type of an image; returns the dtype its pixels are read as. Raises InputError."""
    if not 2 <= len(shape) <= 5:
        advice = "add an axis" if len(shape) < 2 else "save a part of it"
        raise InputError(f"{what} has {len(shape)} dimensions; an image has 2 to 5: {advice}")
    try:
        dtype = pixel_type(stored)
    except ValueError as error:
        raise InputError(f"cannot read {what}: {error}") from None
    if min(shape) < 0 or prod(map(int, shape)) * stored.itemsize > MAX_IMAGE_BYTES:
        raise damaged_input(what, f"it declares an impossible size, {' x '.join(map(str, shape))}")
    return dtype
