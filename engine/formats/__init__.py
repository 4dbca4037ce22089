"""Registry of formats: it lists its own folders ``images/`` and ``tables/``, then installed plug-ins.

A plug-in is a module that an entry point of the group ``pixelforest.formats`` names. It has what a file here has:
``INPUT`` and/or ``OUTPUTS`` for images, ``TABLE`` for tables (see spec.py). Plug-ins are loaded only where no own
format fits, or where all formats are listed; an own format wins over a plug-in's of the same name or extension.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType

from ..errors import UsageError
from ..plug_ins import find_plug_ins, load_plug_ins, logger
from .spec import SEQUENCE, InputFormat, OutputFormat
from .table_spec import TableFormat

__all__ = [
    "find_input_format",
    "find_input_format_of_file",
    "find_input_format_of_folder",
    "find_input_format_of_name",
    "find_remote_format",
    "input_formats",
    "is_image_extension",
    "output_format",
    "output_formats",
    "own_container_extensions",
    "own_input_extensions",
    "plugged_container_extensions",
    "table_format",
    "table_formats",
]

_PLUG_INS = "pixelforest.formats"
# Formats of ilastik that are refused, and what to use instead.
_REFUSED = {
    "blockwise hdf5": "it spreads an image over many files; hdf5, compressed hdf5, n5, compressed n5 and "
    "single-scale OME-Zarr hold images of any size in chunks"
}
# Extensions of ilastik's images that no format here reads or writes; results drop them like those of known formats.
_OTHER_EXTENSIONS = frozenset(["exr", "json", "klb", "raw"])


# ---------------------------------------------------------------------------------------------- modules with formats


@cache
def _names(folder: str) -> tuple[str, ...]:
    files = os.listdir(Path(__file__).parent / folder)
    return tuple(sorted({name.partition(".")[0] for name in files if name[0] not in "._" and ".py" in name}))


def _module(folder: str, name: str) -> ModuleType:
    return import_module(f".{folder}.{name}", __package__)


@cache
def _own(folder: str) -> tuple[ModuleType, ...]:
    return tuple(_module(folder, name) for name in _names(folder))


@cache
def _plugged() -> tuple[ModuleType, ...]:
    """Load plug-ins; one that reads a format of a name that exists already is left out with a warning.

    An image is opened again by the name of its format, so two formats of one name would be mixed up.
    """
    loaded = dict.fromkeys(load_plug_ins(_PLUG_INS))  # a package may name a module twice
    owners = {f.name: "pixelforest" for f in _inputs(_own("images"))} if loaded else {}
    packages = {entry.module: entry.dist.name for entry in find_plug_ins(_PLUG_INS) if entry.dist is not None}
    kept = []
    for module in loaded:
        package = packages.get(module.__name__, module.__name__)
        names = [f.name for f in _inputs([module]) if f.name in owners]
        if names:
            logger.warning(
                "the plug-in %s of the package %s is not used: %s reads a format of the same name, %s; uninstall one",
                *(module.__name__, package, owners[names[0]], names[0]),
            )
            continue
        owners |= {f.name: package for f in _inputs([module])}
        kept.append(module)
    return tuple(kept)


def _in_turn(folder: str) -> Iterator[ModuleType]:
    """Own modules, then plug-ins, which are loaded only if the caller gets that far."""
    yield from _own(folder)
    yield from _plugged()


def _inputs(modules: Iterable[ModuleType]) -> Iterator[InputFormat]:
    return (m.INPUT for m in modules if getattr(m, "INPUT", None) is not None)


def _outputs(modules: Iterable[ModuleType]) -> Iterator[OutputFormat]:
    return chain.from_iterable(getattr(m, "OUTPUTS", ()) for m in modules)


def _tables(modules: Iterable[ModuleType]) -> Iterator[TableFormat]:
    return (m.TABLE for m in modules if getattr(m, "TABLE", None) is not None)


# ------------------------------------------------------------------------------------------------------------- inputs


def input_formats() -> tuple[InputFormat, ...]:
    """List every kind of image file that can be read."""
    return tuple(_inputs(_in_turn("images")))


def find_input_format(extension: str) -> InputFormat | None:
    """Find the format of image files with an extension (lower case, without the dot)."""
    return next((f for f in _inputs(_in_turn("images")) if extension in f.extensions), None)


def find_input_format_of_file(file: Path) -> InputFormat | None:
    """Find the format of an ordinary file by its content, else by its extension; plug-ins have the extension only."""
    named = find_input_format(file.suffix.lower().removeprefix("."))
    own = tuple(_inputs(_own("images")))
    if named is not None and (named not in own or named.is_content is None):
        return named
    from .support.signature import read_head

    head = read_head(file)
    able = own if named is None else (named, *own)
    return next((f for f in able if f.is_content is not None and f.is_content(head)), named)


def find_input_format_of_folder(folder: Path) -> InputFormat | None:
    """Find the format of an image that is a folder, or of a part of one."""
    return next((f for f in _inputs(_in_turn("images")) if f.is_image(folder)), None)


def find_input_format_of_name(name: str) -> InputFormat:
    """Find the format of this name, which is known to exist."""
    return next(f for f in _inputs(_in_turn("images")) if f.name == name)


def find_remote_format(extension: str) -> InputFormat:
    """Find the format of what lies behind a URL that ends in this extension, or in anything else."""
    modules = _in_turn("images") if extension else _own("images")
    remote = (f for f in _inputs(modules) if f.open_remote is not None)
    found = next((f for f in remote if extension in f.extensions), None)
    return found or next(f for f in _inputs(_own("images")) if f.opens_any_url)


@cache
def own_input_extensions() -> frozenset[str]:
    """List the extensions of image files that can be read without a plug-in."""
    return frozenset(e for f in _inputs(_own("images")) for e in f.extensions)


@cache
def own_container_extensions() -> frozenset[str]:
    """List the extensions of files that contain datasets, without those of plug-ins."""
    return frozenset(e for f in _inputs(_own("images")) for e in f.container_extensions)


@cache
def plugged_container_extensions() -> frozenset[str]:
    """List the extensions of files that contain datasets and need a plug-in."""
    return frozenset(e for f in _inputs(_plugged()) for e in f.container_extensions)


# ------------------------------------------------------------------------------------------------------------ results


def output_formats() -> dict[str, OutputFormat]:
    """Map every name that ``--output_format`` takes to what writes it."""
    formats: dict[str, OutputFormat] = {}
    for each in _outputs(_in_turn("images")):
        formats.setdefault(each.name, each)
    return formats


def output_format(name: str) -> OutputFormat:
    """Find the output format of a name. Raises UsageError that lists the names."""
    if name in _REFUSED:
        raise UsageError(f"the output format {name!r} is not written by pixelforest: {_REFUSED[name]}")
    for module in _in_turn_for(name):
        for output in _outputs([module]):
            if output.name == name:
                return output
    raise UsageError(f"there is no output format {name!r}; choose one of: {', '.join(output_formats())}")


def _in_turn_for(output: str) -> Iterator[ModuleType]:
    """Modules of images, each imported only if the caller gets that far; the likeliest for an output format first."""
    for name in _likely_first(output):
        yield _module("images", name)
    yield from _plugged()


def _likely_first(output: str) -> list[str]:
    """Order the files of images/: those first whose source mentions the name of an output format.

    Wrong guesses cost imports, nothing else: no file has to be called after its formats.
    """
    return sorted(_names("images"), key=lambda name: not _mentions(name, output))


def _mentions(name: str, output: str) -> bool:
    try:
        source = (Path(__file__).parent / "images" / f"{name}.py").read_text(encoding="utf-8")
    except OSError:  # installed without sources
        return False
    return any(f'"{each}"' in source for each in (output, output.removesuffix(SEQUENCE)))


def is_image_extension(extension: str) -> bool:
    """Return True if an extension (lower case, without the dot) belongs to an image format, not to a name."""
    return extension in _own_extensions() or extension in _plugged_extensions()


@cache
def _own_extensions() -> frozenset[str]:
    return _OTHER_EXTENSIONS | own_input_extensions() | {f.extension for f in _outputs(_own("images"))}


@cache
def _plugged_extensions() -> frozenset[str]:
    read = (extension for f in _inputs(_plugged()) for extension in f.extensions)
    return frozenset(read) | {f.extension for f in _outputs(_plugged())}


# ------------------------------------------------------------------------------------------------------------- tables


def table_formats() -> tuple[TableFormat, ...]:
    """List every kind of file that tables are written to."""
    return tuple(_tables(_in_turn("tables")))


def table_format(path: Path) -> TableFormat:
    """Find the format of a table by the extension of its path: CSV for any that is not another format's."""
    extension = path.suffix.lower().removeprefix(".")
    modules = _in_turn("tables") if extension else _own("tables")
    found = next((f for f in _tables(modules) if extension in f.extensions), None)
    return found or next(f for f in _tables(_own("tables")) if f.name == "csv")
