"""numba for the kernel modules, and where it keeps what it compiles inside this process.

Programs do not get here: they call kernels through ``library``, which compiles ahead of use in a process of its own.
Tests and benches call the functions themselves, and so does ``library`` where object code cannot be loaded.
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
    """Give every function decorated from now on these options, and no cache of numba's own; then adapt it."""
    _options.update(options, cache=False)
    _adapters.append(adapt)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba's decorator of the same name; options as there."""
    if not _options:
        _options["cache"] = _keep_compiled_functions()
    decorator: Callable[[Callable[..., Any]], Any] = numba.njit(**{**options, **_options})
    return (lambda function: _adapters[0](decorator(function))) if _adapters else decorator


def _keep_compiled_functions() -> bool:
    """Point numba to a folder for exactly these sources, if one can be written to.

    numba looks only at the file of the function it loads, although that function contains others compiled into it.
    """
    folder = cache.prepare_private(f"cpu-{sources()}-numba")
    if folder is None:
        return False
    numba.config.CACHE_DIR = str(folder)
    return True
