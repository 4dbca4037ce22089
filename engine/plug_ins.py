"""Installed packages that add formats, kinds of projects and backends, found by their entry points.

Looking for entry points reads the metadata of all installed packages, so callers do it only for a name that nothing of
this package has.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from types import ModuleType

logger = logging.getLogger("pixelforest.plug_ins")


@cache
def find_plug_ins(group: str) -> tuple[EntryPoint, ...]:
    """List the entry points of a group by name, without importing what they name."""
    from importlib.metadata import entry_points

    return tuple(sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)))


@cache
def load_plug_ins(group: str) -> tuple[ModuleType, ...]:
    """Import the modules of a group; one that cannot be imported is left out with a warning."""
    modules = []
    for entry in find_plug_ins(group):
        try:
            modules.append(import_module(entry.module))
        except Exception as error:
            logger.debug("the error of the plug-in %s came from here", entry.name, exc_info=error)
            logger.warning("the plug-in %s (%s) cannot be loaded: %s", entry.name, entry.value, error)
    return tuple(modules)
