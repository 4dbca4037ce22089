"""Named arrays as bytes, and back; the bytes may come from elsewhere, and be damaged."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays, compressed, as the bytes of an .npz file."""
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def unpack_arrays(packed: bytes) -> dict[str, np.ndarray] | None:
    """Return the arrays; None if the bytes are damaged."""
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
