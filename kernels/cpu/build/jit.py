"""numba's decorator for the kernel modules.

Programs do not use this: they call kernels through ``loader``. Tests and benchmarks call the functions themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

_options: dict[str, Any] = {"cache": False}
_adapters: list[Callable[[Any], Any]] = []


def compile_ahead(adapt: Callable[[Any], Any], **options: Any) -> None:
    """Decorate all functions from now on with these options, then adapt them."""
    _options.update(options)
    _adapters.append(adapt)


def is_ahead() -> bool:
    """Return True after ``compile_ahead``."""
    return bool(_adapters)


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a kernel as numba's ``njit`` with the same options."""
    decorator: Callable[[Callable[..., Any]], Any] = numba.njit(**{**options, **_options})
    return (lambda function: _adapters[0](decorator(function))) if _adapters else decorator
