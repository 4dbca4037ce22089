"""numba's decorator for the kernel modules, and the cache of functions compiled in this process.

Programs do not use this: they call kernels through ``loader``, which compiles ahead of use in a subprocess. Tests and
benchmarks call the functions themselves, and so does ``loader`` if object code cannot be loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from ...shared import cache
from .cache_key import sources

_options: dict[str, Any] = {}
_adapters: list[Callable[[Any], Any]] = []


def compile_ahead(adapt: Callable[[Any], Any], **options: Any) -> None:
    """Decorate all functions from now on with these options and without numba's cache, then adapt them."""
    _options.update(options, cache=False)
    _adapters.append(adapt)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a kernel as numba's ``njit`` with the same options."""
    if not _options:
        _options["cache"] = _keep_compiled_functions()
    decorator: Callable[[Callable[..., Any]], Any] = numba.njit(**{**options, **_options})
    return (lambda function: _adapters[0](decorator(function))) if _adapters else decorator


def _keep_compiled_functions() -> bool:
    """Set numba's cache to a folder for exactly these sources, if one is writable.

    numba checks only the file of the function it loads, although other functions may be compiled into it.
    """
    folder = cache.prepare_private(f"cpu-{sources()}-numba")
    if folder is None:
        return False
    numba.config.CACHE_DIR = str(folder)
    return True
