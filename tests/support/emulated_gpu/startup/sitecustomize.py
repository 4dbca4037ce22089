"""Gives every Python with this folder in PYTHONPATH emulated GPUs, also processes that tests start."""

import os

if "EMULATED_LIBRARY" in os.environ:
    import redirect

    redirect.install(os.environ["EMULATED_LIBRARY"])
