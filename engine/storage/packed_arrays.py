"""Named arrays as files or bytes, and back; these may come from elsewhere, and be damaged."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays, compressed, as the bytes of an .npz file."""
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def unpack_arrays(packed: bytes) -> dict[str, np.ndarray] | None:
    """Return the arrays; None if the bytes are damaged."""
    return read_arrays(io.BytesIO(packed))


def read_arrays(file: Path | BinaryIO) -> dict[str, np.ndarray] | None:
    """Read the arrays of an .npz file; None if there is no such file, or if it is damaged."""
    try:
        with np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
