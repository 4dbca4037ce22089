"""The registry of image formats: it lists its own folder ``images/`` and knows nothing else about any format."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from ..errors import UsageError
from .spec import InputFormat, OutputFormat

__all__ = ["input_formats", "output_format", "output_formats"]


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = sorted(m.name for m in iter_modules([str(Path(__file__).parent / "images")]))
    return tuple(import_module(f".images.{name}", __package__) for name in names)


def input_formats() -> tuple[InputFormat, ...]:
    """Every kind of image file that can be read."""
    return tuple(m.INPUT for m in _modules() if getattr(m, "INPUT", None) is not None)


def output_formats() -> dict[str, OutputFormat]:
    """Every name ``--output_format`` takes, with what writes it."""
    return {f.name: f for m in _modules() for f in getattr(m, "OUTPUTS", ())}


def output_format(name: str) -> OutputFormat:
    """The output format of this name. Raises UsageError that lists the names."""
    formats = output_formats()
    if name not in formats:
        raise UsageError(f"there is no output format {name!r}; choose one of: {', '.join(formats)}")
    return formats[name]
