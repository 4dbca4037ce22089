"""Names that are no UTF-8, as old disks and other systems have them."""

from __future__ import annotations

import os
import sys

import pytest

NAME = os.fsdecode(b"n\xff\xfe") if sys.platform == "linux" else "n"
only_where_there_are_such_names = pytest.mark.skipif(
    sys.platform != "linux", reason="this system has no names that are no UTF-8"
)
