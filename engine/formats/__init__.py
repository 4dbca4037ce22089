"""The registry of formats: it lists its own folders ``images/`` and ``tables/`` and knows nothing else about any."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..errors import UsageError
from .spec import InputFormat, OutputFormat, TableFormat

__all__ = ["input_formats", "output_format", "output_formats", "table_format", "table_formats"]


# Formats of ilastik that are refused, and what to use instead.
_REFUSED = {
    "blockwise hdf5": "it spreads an image over many files; hdf5, compressed hdf5, n5, compressed n5 and "
    "single-scale OME-Zarr hold images of any size in chunks"
}


@cache
def _names(folder: str) -> tuple[str, ...]:
    files = os.listdir(Path(__file__).parent / folder)
    return tuple(sorted({name.partition(".")[0] for name in files if name[0] not in "._" and ".py" in name}))


def _module(folder: str, name: str) -> ModuleType:
    return import_module(f".{folder}.{name}", __package__)


@cache
def _modules(folder: str = "images") -> tuple[ModuleType, ...]:
    return tuple(_module(folder, name) for name in _names(folder))


def input_formats() -> tuple[InputFormat, ...]:
    """List every kind of image file that can be read."""
    return tuple(m.INPUT for m in _modules() if getattr(m, "INPUT", None) is not None)


def output_formats() -> dict[str, OutputFormat]:
    """Map every value of ``--output_format`` to its format."""
    return {f.name: f for m in _modules() for f in getattr(m, "OUTPUTS", ())}


def output_format(name: str) -> OutputFormat:
    """Find the output format of this name. Raises UsageError that lists the names."""
    if name in _REFUSED:
        raise UsageError(f"the output format {name!r} is not written by pixelforest: {_REFUSED[name]}")
    for module in _names("images"):
        if module in name.split():  # spares the other formats' imports
            for output in getattr(_module("images", module), "OUTPUTS", ()):
                if output.name == name:
                    found: OutputFormat = output
                    return found
    formats = output_formats()
    if name not in formats:
        raise UsageError(f"there is no output format {name!r}; choose one of: {', '.join(formats)}")
    return formats[name]


def table_formats() -> tuple[TableFormat, ...]:
    """List every kind of file that tables are written to."""
    return tuple(m.TABLE for m in _modules("tables"))


def table_format(path: Path) -> TableFormat:
    """Find the format of a table by the extension of its path; CSV for any extension that is not another format's."""
    formats = table_formats()
    extension = path.suffix.lower().removeprefix(".")
    found = [f for f in formats if extension in f.extensions]
    return found[0] if found else next(f for f in formats if f.name == "csv")
