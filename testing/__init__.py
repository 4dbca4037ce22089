"""Public test suites for backends, formats and kinds of projects, here and in plug-ins.

A plug-in's tests derive a class from a suite. pytest is needed here and nowhere else in the package.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("backends", "formats", "kernel_inputs", "workflows"))
)
