"""Errors of libraries that decode files: every one becomes an error about the file, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import InputError, MemoryTooSmall, unreadable_input

BY_REGION = "save it as OME-Zarr or HDF5, which are read by region"


def library_errors(path: Path, action: Callable[[], Any]) -> Any:
    """Run an action of a library; whatever it raises becomes an InputError, or MemoryTooSmall, about ``path``."""
    try:
        return action()
    except (InputError, MemoryTooSmall):
        raise
    except MemoryError:
        raise MemoryTooSmall(f"the image in {path} does not fit into memory; {BY_REGION}") from None
    except Exception as error:  # these libraries raise nearly every exception type on damaged files
        raise unreadable_input(path, error) from error
