"""The man page and the reference of the command line follow from the table of options."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from pixelforest.frontend.options_table import OPTIONS
from pixelforest.frontend.reference import EXIT_STATUSES


@pytest.fixture(scope="module")
def builder(repository: Path) -> ModuleType:
    source = importlib.util.spec_from_file_location("reference_page", repository / "docs" / "build_reference.py")
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    source.loader.exec_module(module)
    return module


def test_the_files_are_those_of_the_table(builder: ModuleType) -> None:
    written = {path: path.read_text(encoding="utf-8") for path in builder.build()}
    assert written == builder.build(), "run python docs/build_reference.py"


def test_every_option_is_in_the_reference(builder: ModuleType) -> None:
    page = builder.PAGE.read_text(encoding="utf-8")
    for option in OPTIONS:
        assert (f"- `{option.usage}`: {option.help}" in page) == option.is_shown, option.name
        assert (f"- `{option.name}`: {option.refused}\n" in page) == bool(option.refused), option.name
    for status, meaning in EXIT_STATUSES:
        assert f"| {status} | {meaning} |" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_formats_the_man_page_without_warnings(builder: ModuleType) -> None:
    argv = ["groff", "-man", "-Tutf8", "-ww", "-P-c", str(builder.MAN_PAGE)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    text = re.sub(".\b", "", done.stdout)  # bold letters are struck twice
    assert [option.name for option in OPTIONS if option.is_shown and option.name not in text] == []
