"""Output formats that write files."""

from __future__ import annotations

from pixelforest.engine.formats import output_formats

FORMATS = [f for f in output_formats().values() if f.extension]
