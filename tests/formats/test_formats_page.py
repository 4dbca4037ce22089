"""docs/formats.md says what the registry says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pixelforest.engine.formats import input_formats, output_formats


def test_the_tables_are_those_of_the_registry(repository: Path) -> None:
    source = importlib.util.spec_from_file_location("formats_page", repository / "docs" / "build_formats_page.py")
    assert source is not None
    assert source.loader is not None
    builder = importlib.util.module_from_spec(source)
    source.loader.exec_module(builder)
    page = builder.PAGE.read_text(encoding="utf-8")
    assert page == builder.build_page(page), "run python docs/build_formats_page.py"
    for name in output_formats():
        assert f"| `{name}` |" in page
    for extension in {e for f in input_formats() for e in f.extensions}:
        assert f"`.{extension}`" in page
